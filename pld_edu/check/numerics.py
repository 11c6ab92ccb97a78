"""Findings that no recipe shows: rounding, overflow, hidden NaN, gradients, side effects."""

from collections.abc import Sequence

import numpy as np

from .cases import Floats
from .judge import Judged
from .mistakes import EPS_PLACES, EPSILONS
from .recipes import Formula
from .report import Cause

LARGEST = 1e30


def low_precision_dtype(judged: Sequence[Judged]) -> str | None:
    """Name "float16" or "bfloat16" if every value or every gradient is a number of that format.

    A loss that converts to half precision hands its gradient back through that conversion, so
    all of its digits beyond the 8th or 11th bit are 0. No float32 loss does that by accident.
    """
    done = [j for j in judged if j.finite and "plain" in j.case.flags and j.case.size > 4]
    if len(done) < 4:
        return None
    values = np.concatenate([np.ravel(j.got) for j in done])
    slopes = [j.outcome.gradient for j in done if j.outcome.gradient is not None]
    gradients = np.concatenate([np.ravel(g) for g in slopes]) if slopes else np.zeros(1)
    for name in ("float16", "bfloat16"):
        for numbers in (values, gradients):
            informative = np.count_nonzero(np.abs(numbers) > 1e-3) > 3
            if informative and np.array_equal(_rounded(numbers, name), numbers):
                return name
    return None


def numerical_causes(judged: Sequence[Judged], formula: Formula) -> tuple[list[Cause], Formula]:
    """Why values of large and spread logits are off, given the formula that the plain ones obey.

    The second result is that formula, with an eps in it if one is found.
    """
    failing = [
        j
        for j in judged
        if j.case.numerical
        and j.bad
        and j.outcome.state == "ok"
        and "nan" not in j.case.flags
        and not j.reproduced_by(formula)
    ]
    if all(j.reproduced_by(formula, gradients=False) for j in failing):
        return [], formula
    causes = []
    eps = _eps_that_explains([j for j in judged if "spread" in j.case.flags], formula)
    if eps is not None:
        explained = [j for j in failing if j.reproduced_by(eps, gradients=False)]
        if explained:
            causes.append(Cause.of("eps-in-log", len(explained), eps_sentence(eps)))
            failing = [j for j in failing if j not in explained]
            formula = eps
    if failing:
        causes.append(_value_cause(failing))
    return causes, formula


def extreme_cause(judged: Sequence[Judged]) -> list[Cause]:
    """A remark on student logits beyond 100."""
    weak = [j for j in judged if j.verdict == "weak" and j.excused is None]
    if not weak:
        return []
    first = min(weak, key=lambda j: j.case.scale)
    seen = first.outcome.message or _difference(first)
    sentence = (
        f"Right up to student logits of 100. First seen off at {first.case.scale:.0f} "
        f"({first.case.id}): {seen}."
    )
    return [Cause.of("extreme-scale", len(weak), sentence)]


def hidden_nan(judged: Sequence[Judged]) -> list[Cause]:
    """A NaN that came in and did not come out."""
    hidden = [j for j in judged if "nan" in j.case.flags and j.bad]
    if not hidden:
        return []
    got = float(np.ravel(hidden[0].got)[0])
    sentence = f"A NaN among the student's logits comes out as {got:.4g}, which hides the failure."
    return [Cause.of("nan-to-zero", len(hidden), sentence)]


def gradient_causes(judged: Sequence[Judged], formula: Formula) -> list[Cause]:
    """Values that obey the formula, with gradients that do not."""
    off = [
        j
        for j in judged
        if j.bad
        and j.finite
        and j.reproduced_by(formula, slack=3.0, gradients=False)
        and not j.reproduced_by(formula, slack=3.0)
    ]
    if not off:
        return []
    slopes = [j.outcome.gradient for j in off if j.outcome.gradient is not None]
    if slopes and not any(np.any(g) for g in slopes):
        return [Cause.of("no-gradient", len(off))]
    broken = [j for j in off if not _finite_gradient(j)]
    wrong = [j for j in off if _finite_gradient(j)]
    named = (("gradient-wrong", wrong), ("gradient-not-finite", broken))
    return [Cause.of(name, len(js), _gradient_sentence(js)) for name, js in named if js]


def side_effects(judged: Sequence[Judged]) -> list[Cause]:
    """Arguments changed in place; gradients into the teacher."""
    causes = []
    touched = [j for j in judged if j.outcome.inputs_modified]
    if touched:
        causes.append(Cause.of("inputs-modified", len(touched)))
    leaking = [j for j in judged if (j.outcome.teacher_gradient or 0.0) > 1e-6]
    if leaking:
        sentence = (
            "Gradients flow into the teacher's logits: harmless where the teacher runs under "
            "no_grad, otherwise the loss trains the teacher."
        )
        causes.append(Cause.of("teacher-not-detached", len(leaking), sentence))
    return causes


def ties_cause(judged: Sequence[Judged]) -> list[Cause]:
    """Right, by another rule for equal teacher logits."""
    other = [j for j in judged if j.verdict == "convention"]
    return [Cause.of("other-ties", len(other))] if other else []


def _rounded(x: Floats, name: str) -> Floats:
    if name == "float16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float64)
    bits = x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(np.float64)


def eps_sentence(formula: Formula) -> str:
    """Names the constant and its place."""
    recipe = formula.terms[0][1]
    where = {
        "sum": "added to the sum of exponentials (after the largest is taken out)",
        "attached sum": "added to the sum of exponentials (after the largest is taken out)",
        "raw sum": "added to the sum of exponentials",
        "probability": "added to the probability",
        "clamp": "as a lower bound of the probability",
    }[recipe.log]
    return f"{recipe.eps:.2g} {where} inside the logarithm drowns unlikely choices."


def _eps_that_explains(spread: Sequence[Judged], formula: Formula) -> Formula | None:
    """The eps and its place that reproduce every finite spread case; None if there is none."""
    finite = [j for j in spread if j.finite]
    if not finite or any(r.log != "exact" for _, r in formula.terms):
        return None
    for where in EPS_PLACES:
        for eps in EPSILONS:
            candidate = formula.changed(log=where, eps=eps)
            if all(j.reproduced_by(candidate, gradients=False) for j in finite):
                return candidate
    return None


def _value_cause(failing: Sequence[Judged]) -> Cause:
    values = np.concatenate([np.ravel(j.got) for j in failing])
    worst = max(failing, key=lambda j: j.case.scale)
    where = f"at student logits of {worst.case.scale:.0f} ({worst.case.id}): {_difference(worst)}."
    if not np.isfinite(values).all() or np.abs(values).max() > LARGEST:
        return Cause.of("overflow", len(failing), f"exp() overflows or underflows {where}")
    if (values == 0.0).any():
        return Cause.of("nan-to-zero", len(failing), f"A failure is turned into 0 {where}")
    return Cause.of("loses-precision", len(failing), f"Digits are lost {where}")


def _difference(j: Judged) -> str:
    if not j.value_right:
        got, wanted = np.ravel(j.got)[0], np.ravel(j.expected)[0]
        return f"loss {got:.7g} where {wanted:.7g} is right"
    return _gradient_sentence([j]).rstrip(".")


def _finite_gradient(j: Judged) -> bool:
    slope = j.outcome.gradient
    return slope is not None and bool(np.isfinite(slope).all())


def _gradient_sentence(off: Sequence[Judged]) -> str:
    j = min(off, key=lambda j: j.case.size)
    slope, right = j.outcome.gradient, j.expected_gradient
    if slope is None:
        return f"The value is right; the gradient cannot be had: {j.outcome.gradient_error}."
    if slope.shape != right.shape:
        return f"The value is right, the gradient has shape {slope.shape} for logits {right.shape}."
    if not np.isfinite(slope).all():
        return f"The value is right, the gradient holds NaN or infinity ({j.case.id})."
    ratios = slope[np.abs(right) > 1e-3] / right[np.abs(right) > 1e-3]
    if len(ratios) and np.ptp(ratios) < 1e-3 * np.abs(ratios).max():
        times = f"{ratios[0]:.4g} times what it should be"
        return f"The value is right, the gradient is {times} ({j.case.id})."
    at = np.unravel_index(np.abs(slope - right).argmax(), right.shape)
    place = f"[{at[0]}, {at[1]}]"
    return (
        f"The value is right, the gradient is not: {slope[at]:.6g} at {place} of {j.case.id}, "
        f"where {right[at]:.6g} is right."
    )
