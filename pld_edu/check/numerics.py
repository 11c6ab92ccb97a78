"""Causes that no formula shows: rounding, overflow, hidden NaN, gradients, side effects."""

from collections.abc import Sequence

import numpy as np

from .cases import Floats
from .compare import CheckedCase
from .engine import describe_relation, find_mistake, is_finite
from .mistakes import EPS_PLACES, EPSILONS
from .report import Cause
from .variants import Formula, LossVariant

LARGEST = 1e30


def low_precision_dtype(checked: Sequence[CheckedCase]) -> str | None:
    """Name "float16" or "bfloat16" if every value or every gradient is a number of that format.

    A loss that converts to half precision hands its gradient back through that conversion, so
    all of its digits beyond the 8th or 11th bit are 0. No float32 loss does that by accident.
    """
    done = [c for c in checked if c.finite and "plain" in c.case.flags and c.case.size > 4]
    if len(done) < 4:
        return None
    values = np.concatenate([np.ravel(c.got) for c in done])
    slopes = [np.ravel(c.result.gradient) for c in done if c.result.gradient is not None]
    for name in ("float16", "bfloat16"):
        for numbers in (values, np.concatenate([np.zeros(1), *slopes])):
            informative = np.count_nonzero(np.abs(numbers) > 1e-3) > 3
            if informative and np.array_equal(_round_to(numbers, name), numbers):
                return name
    return None


def numerical_causes(
    checked: Sequence[CheckedCase], formula: Formula
) -> tuple[list[Cause], Formula]:
    """Why values of large and spread logits are off, given the formula that the plain ones obey.

    The second result is that formula, with an eps in it if one is found.
    """
    failing = [
        c
        for c in checked
        if c.case.numerical
        and c.bad
        and c.result.state == "ok"
        and "nan" not in c.case.flags
        and not c.reproduced_by(formula)
    ]
    if all(c.reproduced_by(formula, gradients=False) for c in failing):
        return [], formula
    causes = []
    eps = _eps_that_explains([c for c in checked if "spread" in c.case.flags], formula)
    if eps is not None:
        explained = [c for c in failing if c.reproduced_by(eps, gradients=False)]
        if explained:
            sentence = eps_sentence(eps.terms[0][1])
            causes.append(Cause.of("eps-in-log", len(explained), sentence))
            failing = [c for c in failing if c not in explained]
            formula = eps
    if failing:
        causes.append(_value_cause(failing))
    return causes, formula


def extreme_cause(checked: Sequence[CheckedCase]) -> list[Cause]:
    """A remark on student logits beyond 100."""
    weak = [c for c in checked if c.outcome == "weak" and c.failure_expected is None]
    if not weak:
        return []
    first = min(weak, key=lambda c: c.case.scale)
    seen = first.result.message or _difference(first)
    sentence = (
        f"Right up to student logits of 100. First seen off at {first.case.scale:.0f} "
        f"({first.case.id}): {seen}."
    )
    return [Cause.of("extreme-scale", len(weak), sentence)]


def hidden_nan(checked: Sequence[CheckedCase]) -> list[Cause]:
    """A NaN that came in and did not come out."""
    hidden = [c for c in checked if "nan" in c.case.flags and c.bad]
    if not hidden:
        return []
    got = float(np.ravel(hidden[0].got)[0])
    sentence = f"A NaN among the student's logits comes out as {got:.4g}, which hides the failure."
    return [Cause.of("nan-to-zero", len(hidden), sentence)]


def gradient_causes(checked: Sequence[CheckedCase], formula: Formula) -> list[Cause]:
    """Values that obey the formula, with gradients that do not."""
    off = [
        c
        for c in checked
        if c.bad
        and c.reproduced_by(formula, slack=3.0, gradients=False)
        and (c.result.gradient_error or not c.reproduced_by(formula, slack=3.0))
    ]
    slopes = [c.result.gradient for c in off if c.result.gradient is not None]
    if slopes and not any(np.any(g) for g in slopes):
        return [Cause.of("no-gradient", len(off))]
    broken = [c for c in off if not is_finite(c.result.gradient) and not c.result.gradient_error]
    wrong = [c for c in off if c not in broken]
    named = (("gradient-wrong", wrong), ("gradient-not-finite", broken))
    return [Cause.of(name, len(cs), _gradient_sentence(cs)) for name, cs in named if cs]


def side_effects(checked: Sequence[CheckedCase]) -> list[Cause]:
    """Arguments changed in place; gradients into the teacher."""
    causes = []
    touched = [c for c in checked if c.result.inputs_modified]
    if touched:
        causes.append(Cause.of("inputs-modified", len(touched)))
    leaking = [c for c in checked if (c.result.teacher_gradient or 0.0) > 1e-6]
    if leaking:
        sentence = (
            "Gradients flow into the teacher's logits: harmless where the teacher runs under "
            "no_grad, otherwise the loss trains the teacher."
        )
        causes.append(Cause.of("teacher-not-detached", len(leaking), sentence))
    return causes


def ties_cause(checked: Sequence[CheckedCase]) -> list[Cause]:
    """Right, by another rule for equal teacher logits."""
    other = [c for c in checked if c.outcome == "convention"]
    return [Cause.of("other-ties", len(other))] if other else []


def eps_sentence(variant: LossVariant) -> str:
    """Names the constant and its place."""
    where = {
        "sum": "added to the sum of exponentials (after the largest is taken out)",
        "attached sum": "added to the sum of exponentials (after the largest is taken out)",
        "raw sum": "added to the sum of exponentials",
        "probability": "added to the probability",
        "clamp": "as a lower bound of the probability",
    }[variant.log]
    return f"{variant.eps:.2g} {where} inside the logarithm drowns unlikely choices."


def _eps_that_explains(spread: Sequence[CheckedCase], formula: Formula) -> Formula | None:
    """The eps and its place that reproduce every finite spread case; None if there is none."""
    finite = [c for c in spread if c.finite]
    if not finite or any(variant.log != "exact" for _, variant in formula.terms):
        return None
    candidates = (formula.changed(log=place, eps=eps) for place in EPS_PLACES for eps in EPSILONS)
    return find_mistake(
        candidates, lambda found: all(c.reproduced_by(found, gradients=False) for c in finite)
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
    where = f"at student logits of {worst.case.scale:.0f} ({worst.case.id}): {_difference(worst)}."
    if not np.isfinite(values).all() or np.abs(values).max() > LARGEST:
        return Cause.of("overflow", len(failing), f"exp() overflows or underflows {where}")
    if (values == 0.0).any():
        return Cause.of("nan-to-zero", len(failing), f"A failure is turned into 0 {where}")
    return Cause.of("loses-precision", len(failing), f"Digits are lost {where}")


def _difference(c: CheckedCase) -> str:
    if not c.value_right:
        got, wanted = np.ravel(c.got)[0], np.ravel(c.expected)[0]
        return f"loss {got:.7g} where {wanted:.7g} is right"
    return _gradient_sentence([c]).rstrip(".")


def _gradient_sentence(off: Sequence[CheckedCase]) -> str:
    """How the gradient of the smallest case is wrong."""
    c = min(off, key=lambda c: c.case.size)
    got, right = c.result.gradient, c.expected_gradient
    if got is None:
        return f"The value is right; the gradient cannot be had: {c.result.gradient_error}."
    relation = describe_relation([got], [right], rtol=1e-3)
    kind, _, number = relation or ("none", "", 0.0)
    match kind:
        case "shape":
            wrong = f"has shape {got.shape} for logits {right.shape}"
        case "not finite":
            wrong = f"holds NaN or infinity ({c.case.id})"
        case "sign" | "factor":
            wrong = f"is {number:.4g} times what it should be ({c.case.id})"
        case _:
            at = np.unravel_index(np.abs(got - right).argmax(), right.shape)
            wrong = (
                f"is not: {got[at]:.6g} at [{at[0]}, {at[1]}] of {c.case.id}, "
                f"where {right[at]:.6g} is right"
            )
    return f"The value is right, the gradient {wrong}."
