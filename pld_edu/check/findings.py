"""Causes that are recognised by other signs than the loss's formula, and all causes by name."""

from .mistakes import FORMULA, Mistake

OTHER = (
    Mistake(
        "constant-factor",
        "The right loss times a constant.",
        "Drop the factor.",
    ),
    Mistake(
        "sign-flipped",
        "Minus the right loss: the log-likelihood, not its negative.",
        "Return the negative log-likelihood.",
    ),
    Mistake(
        "log-base",
        "The right loss in another base of the logarithm.",
        "Use the natural logarithm.",
    ),
    Mistake(
        "low-precision",
        "Half-precision arithmetic inside.",
        "Convert the logits to float32 (or float64) at the top of the loss.",
    ),
    Mistake(
        "overflow",
        "exp() of bare logits overflows or underflows.",
        "Use logsumexp or logcumsumexp, which take the largest logit out first.",
    ),
    Mistake(
        "nan-to-zero",
        "A NaN is turned into an ordinary number, which hides the failure.",
        "Remove nan_to_num or the mask, and mend what makes the NaN.",
    ),
    Mistake(
        "loses-precision",
        "Right at everyday logits, off at logits that training can reach.",
        "Work with differences of logits: logaddexp, logcumsumexp.",
    ),
    Mistake(
        "gradient-wrong",
        "The value is right, the gradient is not.",
        "Check custom backwards and detach(): dL/ds = sum_k alpha_k (sigma_k - e_{pi_k}).",
    ),
    Mistake(
        "no-gradient",
        "No gradient reaches the student's logits.",
        "Remove detach(), .item(), .data or no_grad() on the student's way.",
    ),
    Mistake(
        "gradient-not-finite",
        "The value is right, the gradient holds NaN or infinity.",
        "Look for 0 * inf: where() or a mask over a log or exp that overflowed.",
    ),
    Mistake(
        "inputs-modified",
        "The function changes its arguments in place.",
        "Copy before an in-place operation such as scatter_ or t[...] = ...",
    ),
    Mistake(
        "wrong-shape",
        "The result does not have the shape that the reduction asks for.",
        'Return one number for reduction "mean" or "sum", [N] for "none".',
    ),
    Mistake(
        "raises",
        "The function raises an exception on valid input.",
        "See the message; the inputs are logits [N, C] and labels [N].",
    ),
    Mistake(
        "hangs",
        "The function does not come back in time.",
        "Run the case by hand, or allow more time with timeout=.",
    ),
    Mistake(
        "crashes",
        "The process dies.",
        "Run the case by hand under a debugger.",
    ),
    Mistake(
        "unknown",
        "Wrong, and no known mistake or pair of mistakes gives these numbers.",
        "Start from the smallest case below and compare rank by rank.",
    ),
    Mistake(
        "teacher-not-detached",
        "Gradients flow into the teacher's logits.",
        "teacher_logits.detach() (JAX: stop_gradient) at the top of the loss.",
    ),
    Mistake(
        "other-ties",
        "Equal teacher logits are ranked by another rule than lower class index first.",
        "Nothing to mend; expect other numbers where teachers tie (half precision).",
    ),
    Mistake(
        "extreme-scale",
        "Right up to student logits of 100, off beyond.",
        "For more, use logaddexp(0, R_next - s) and float64 inside.",
    ),
)

BY_NAME = {mistake.name: mistake for mistake in (*FORMULA, *OTHER)}
