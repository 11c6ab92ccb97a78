"""Causes that no variant shows: rounding, overflow, hidden NaN, gradients, side effects."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .cases import Floats
from .compare import CheckedCase
from .engine import describe_relation, find_mistake, is_finite
from .mistakes import BY_NAME
from .report import Cause
from .variants import LossVariant

LARGEST = 1e30


def low_precision_dtype(checked: Sequence[CheckedCase]) -> str | None:
    """Name "float16" or "bfloat16" if every value or every gradient is a number of that format.

    A loss that converts to half precision hands its gradient back through that conversion, so
    all of its digits beyond the 8th or 11th bit are 0. No float32 loss does that by accident.
    """
    done = [c for c in checked if c.finite and "plain" in c.flags and c.case.size > 4]
    if len(done) < 4:
        return None
    values = np.concatenate([np.ravel(c.got) for c in done])
    slopes = [np.ravel(c.got_gradient) for c in done if c.got_gradient is not None]
    for name in ("float16", "bfloat16"):
        for numbers in (values, np.concatenate([np.zeros(1), *slopes])):
            informative = np.count_nonzero(np.abs(numbers) > 1e-3) > 3
            if informative and np.array_equal(_round_to(numbers, name), numbers):
                return name
    return None


def numerical_causes(
    checked: Sequence[CheckedCase], variant: LossVariant
) -> tuple[list[Cause], LossVariant]:
    """Why values of large and spread logits are off, given the variant that the plain ones obey.

    The second result is that variant, with an eps in it if one is found.
    """
    failing = [
        c
        for c in checked
        if c.case.numerical
        and c.bad
        and c.result.state == "ok"
        and "nan" not in c.flags
        and not c.reproduced_by(variant)
    ]
    if all(c.reproduced_by(variant, gradients=False) for c in failing):
        return [], variant
    causes = []
    eps = _find_eps([c for c in checked if "spread" in c.flags and c.finite], variant)
    explained = [c for c in failing if eps and c.reproduced_by(eps, gradients=False)]
    if eps and explained:
        causes.append(Cause.of("eps-in-log", explained, eps_sentence(eps)))
        failing = [c for c in failing if c not in explained]
        variant = eps
    if failing:
        causes.append(_value_cause(failing))
    return causes, variant


def gradient_causes(checked: Sequence[CheckedCase], variant: LossVariant) -> list[Cause]:
    """Values that obey the variant, with gradients that do not."""
    off = [
        c
        for c in checked
        if c.bad
        and c.reproduced_by(variant, slack=3.0, gradients=False)
        and not c.reproduced_by(variant, slack=3.0)
    ]
    slopes = [c.got_gradient for c in off if c.got_gradient is not None]
    if slopes and not any(np.any(g) for g in slopes):
        return [Cause.of("no-gradient", off)]
    broken = [c for c in off if not c.result.gradient_error and not is_finite(c.got_gradient)]
    wrong = [c for c in off if c not in broken]
    named = (("gradient-wrong", wrong), ("gradient-not-finite", broken))
    return [Cause.of(name, cs, _gradient_sentence(cs)) for name, cs in named if cs]


def other_mistakes(checked: Sequence[CheckedCase]) -> list[Cause]:
    """A NaN that came in and did not come out; arguments changed in place."""
    causes = []
    hidden = [c for c in checked if "nan" in c.flags and c.bad]
    if hidden:
        got = f"{np.ravel(hidden[0].got)[0]:.4g}, which hides the failure"
        sentence = f"A NaN among the student's logits comes out as {got}."
        causes.append(Cause.of("nan-to-zero", hidden, sentence))
    touched = [c for c in checked if c.result.inputs_modified]
    if touched:
        causes.append(Cause.of("inputs-modified", touched))
    return causes


def remarks(checked: Sequence[CheckedCase], extreme: bool) -> list[Cause]:
    """What is no mistake: a teacher that learns, trouble beyond 100 if asked for, other ties."""
    causes = []
    leaking = [c for c in checked if (c.result.teacher_gradient or 0.0) > 1e-6]
    if leaking:
        sentence = (
            "Gradients flow into the teacher's logits: harmless where the teacher runs under "
            "no_grad, otherwise the loss trains the teacher."
        )
        causes.append(Cause.of("teacher-not-detached", leaking, sentence))
    weak = [c for c in checked if c.outcome == "weak" and not c.failure_expected]
    if weak and extreme:
        first = min(weak, key=lambda c: c.case.scale)
        sentence = (
            f"Right up to student logits of 100. First seen off at {first.case.scale:.0f} "
            f"({first.id}): {first.result.message or _difference(first)}."
        )
        causes.append(Cause.of("extreme-scale", weak, sentence))
    other = [c for c in checked if c.outcome == "convention"]
    if other:
        causes.append(Cause.of("other-ties", other))
    return causes


def eps_sentence(variant: LossVariant) -> str:
    """Names the constant and its place."""
    after_shift = "added to the sum of exponentials (after the largest is taken out)"
    where = {
        "sum": after_shift,
        "attached sum": after_shift,
        "raw sum": "added to the sum of exponentials",
        "probability": "added to the probability",
        "clamp": "as a lower bound of the probability",
    }[variant.log]
    return f"{variant.eps:.2g} {where} inside the logarithm drowns unlikely choices."


def _find_eps(spread: Sequence[CheckedCase], variant: LossVariant) -> LossVariant | None:
    """The eps and its place that reproduce every spread case; None if there is none."""
    if not spread or variant.log != "exact":
        return None
    candidates = (replace(variant, **changes) for changes in BY_NAME["eps-in-log"].variants)
    return find_mistake(
        candidates, lambda found: all(c.reproduced_by(found, gradients=False) for c in spread)
    )


def _round_to(x: Floats, name: str) -> Floats:
    if name == "float16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float64)
    bits = x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)  # bfloat16
    return bits.view(np.float32).astype(np.float64)


def _value_cause(failing: Sequence[CheckedCase]) -> Cause:
    values = np.concatenate([np.ravel(c.got) for c in failing])
    worst = max(failing, key=lambda c: c.case.scale)
    where = f"at student logits of {worst.case.scale:.0f} ({worst.id}): {_difference(worst)}."
    if not np.isfinite(values).all() or np.abs(values).max() > LARGEST:
        return Cause.of("overflow", failing, f"exp() overflows or underflows {where}")
    if (values == 0.0).any():
        return Cause.of("nan-to-zero", failing, f"A failure is turned into 0 {where}")
    return Cause.of("loses-precision", failing, f"Digits are lost {where}")


def _difference(c: CheckedCase) -> str:
    if not c.loss_right:
        got, wanted = np.ravel(c.got)[0], np.ravel(c.expected)[0]
        return f"loss {got:.7g} where {wanted:.7g} is right"
    return _gradient_sentence([c]).rstrip(".")


def _gradient_sentence(off: Sequence[CheckedCase]) -> str:
    """How the gradient of the smallest case is wrong."""
    c = min(off, key=lambda c: c.case.size)
    got, right = c.got_gradient, c.expected_gradient
    if got is None:
        return f"The value is right; the gradient cannot be had: {c.result.gradient_error}."
    relation = describe_relation([got], [right], rtol=1e-3)
    kind, _, number = relation or ("none", "", 0.0)
    match kind:
        case "shape":
            wrong = f"has shape {got.shape} for logits {right.shape}"
        case "not finite":
            wrong = f"holds NaN or infinity ({c.id})"
        case "sign" | "factor":
            wrong = f"is {number:.4g} times what it should be ({c.id})"
        case _:
            at = np.unravel_index(np.abs(got - right).argmax(), right.shape)
            place = f"[{at[0]}, {at[1]}] of {c.id}"
            wrong = f"is not: {got[at]:.6g} at {place}, where {right[at]:.6g} is right"
    return f"The value is right, the gradient {wrong}."
