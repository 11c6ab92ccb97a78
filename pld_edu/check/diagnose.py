"""From checked cases to causes: which known mistakes would have printed exactly these numbers?

The plain cases decide on the variant of the loss: it must reproduce every one of them. The rest is
then compared with that variant: large and spread logits, gradients, side effects.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np

from .cases import Floats
from .compare import CheckedCase
from .engine import Relation, common_factor, describe_relation, find_mistake, is_finite
from .formula import Formula
from .report import Cause

ENOUGH = 4  # Cases a variant must reproduce before it counts as an explanation.
SMALL = 16  # Logits in a case up to which gradients of candidates are compared too.
PLAIN_EPS = 1e-9  # An eps from here on shows in plain cases.
FACTORS = {-1.0: "sign-flipped", 1 / math.log(2): "log-base", 1 / math.log(10): "log-base"}
SLACK, HALF_PRECISION_SLACK = 3.0, 1000.0
NUMERICAL = frozenset({"large", "spread", "extreme"})  # Here rounding is put to the test.

Candidate = tuple[Formula, tuple[str, ...]]  # with the names of its mistakes


def diagnose(checked: Sequence[CheckedCase]) -> list[Cause]:
    """Every cause that can be told from these numbers, mistakes first."""
    bad = [c for c in checked if c.bad]
    plain = [c for c in checked if c.finite and "plain" in c.flags and not c.failure_expected]
    causes = list(_failures(checked))
    half = _low_precision_dtype(checked)
    slack = HALF_PRECISION_SLACK if half else SLACK
    found = explain(plain, slack)
    if half and bad:
        sentence = f"Every result is a {half} number: {half} arithmetic inside."
        causes.append(Cause.of("low-precision", [c for c in bad if c.finite], sentence))
    if found is not None:
        variant, names = found
        explained = [c for c in bad if c.reproduced_by(variant, slack=slack, gradients=False)]
        causes += [Cause.of(name, explained, _sentence(name, variant)) for name in names]
        if not half:
            numerical, variant = _numerical_causes(checked, variant)
            smooth = [c for c in bad if not numerical or NUMERICAL.isdisjoint(c.flags)]
            causes += numerical + _gradient_causes(smooth, variant)
    elif any(c.bad for c in plain):
        causes.append(_unknown([c for c in bad if c.finite]))
    causes += _other_mistakes(checked)
    if bad and not any(cause.kind == "mistake" for cause in causes):
        causes.append(_unknown(bad))
    passes = not any(cause.kind == "mistake" for cause in causes)
    merged: dict[str, Cause] = {}  # The first sentence stays, the counts add up.
    for cause in (*causes, *_remarks(checked, passes)):
        first = merged.get(cause.name, replace(cause, explains=0))
        merged[cause.name] = replace(first, explains=first.explains + cause.explains)
    return list(merged.values())


def explain(plain: Sequence[CheckedCase], slack: float) -> Candidate | None:
    """The right loss, one mistake, a factor, a blend, or a pair; None if nothing fits."""
    if len(plain) < ENOUGH:
        return None

    def distinguishes(c: CheckedCase) -> tuple[bool, bool, bool]:
        rows, classes = c.case.student_logits.shape
        return c.case.temperature != 1.0, rows > 1, 3 <= classes <= 12

    # Cases that tell most mistakes apart come first: they end a comparison early.
    plain = sorted(plain, key=distinguishes, reverse=True)
    small = [c for c in plain if c.case.size <= SMALL]
    right = plain[0].right
    singles: list[Candidate] = [
        (variant, (name,))
        for name, changed in right.mistakes.items()
        for variant in (replace(right, **changes) for changes in changed)
        if variant != right
    ]

    def fits(candidate: Candidate) -> bool:
        return all(c.reproduced_by(candidate[0], slack=slack, gradients=False) for c in plain)

    def fits_gradients(candidate: Candidate) -> bool:
        return all(c.reproduced_by(candidate[0], slack=slack) for c in small)

    groups: tuple[Iterable[Candidate], ...] = (
        [(right, ())],
        singles,
        _scaled(plain, right),
        _blends(plain, right),
        _pairs(right),
        (scaled for variant, names in singles for scaled in _scaled(plain, variant, names)),
    )
    found = (find_mistake(candidates, fits, fits_gradients) for candidates in groups)
    return next(filter(None, found), None)


def _pairs(right: Formula) -> Iterator[Candidate]:
    """Two mistakes at once that do not touch the same step."""
    for (first, ones), (second, others) in combinations(right.mistakes.items(), 2):
        for one, other in product(ones, others):
            # A smaller eps shows on spread logits alone, where it is looked for afterwards.
            if not one.keys() & other.keys() and other.get("eps", 1.0) >= PLAIN_EPS:
                variant = replace(right, **one, **other)
                if variant != right and variant.possible:
                    yield variant, (first, second)


def _scaled(
    plain: Sequence[CheckedCase], variant: Any, names: tuple[str, ...] = ()
) -> Iterator[Candidate]:
    """``a L``: the variant times a factor, if two cases with large losses agree on one."""
    big = [c for c in plain if "ties" not in c.flags and np.abs(c.expected).max() > 0.1][:2]
    if len(big) == 2:
        values = _join(variant.value(c.case).real for c in big)
        a = common_factor(_join(c.got for c in big), values, rtol=1e-3)
        if a is not None:
            near = [name for b, name in FACTORS.items() if math.isclose(a, b, rel_tol=1e-4)]
            name = near[0] if near else "constant-factor"
            yield replace(variant, factor=a, ce=a * variant.ce, kd=a * variant.kd), (*names, name)


def _blends(plain: Sequence[CheckedCase], right: Any) -> Iterator[Candidate]:
    """``a L + b M``: the right loss plus a term that people add, a and b by least squares."""
    plain = [c for c in plain if "ties" not in c.flags]
    got = _join(c.got for c in plain)
    for name, extra in (("extra-cross-entropy", "ce"), ("extra-kd", "kd")):
        alone = [replace(right, **{"factor": a, extra: 1.0 - a}) for a in (1.0, 0.0)]
        columns = [_join(variant.value(c.case).real for c in plain) for variant in alone]
        (a, b), *_ = np.linalg.lstsq(np.stack(columns, axis=1), got)
        if abs(b) > 1e-3:
            yield replace(right, **{"factor": a, extra: b}), (name,)


def _join(values: Iterable[Floats]) -> Floats:
    return np.concatenate([np.ravel(v) for v in values])


def _sentence(name: str, variant: Any) -> str | None:
    """What to say of this mistake in this variant; None for the usual sentence."""
    factor = variant.factor
    match name:
        case "constant-factor":
            return f"{factor:.6g} times what it should be, in every case."
        case "log-base":
            base = round(math.exp(1 / factor))
            return f"{factor:.4f} = 1/ln {base} times: logarithms to base {base}."
        case "temperature-fixed":
            tau = variant.weight_temperature
            return f"The weights have temperature {tau:g}, whatever was asked for."
        case "truncated":
            return f"Only the first {variant.top} ranks count; the rest is dropped."
        case "eps-in-log":
            place = {
                "raw sum": "added to the sum of exponentials",
                "probability": "added to the probability",
                "clamp": "as a lower bound of the probability",
            }.get(variant.log, "added to the sum of exponentials (after the largest is taken out)")
            return f"{variant.eps:.2g} {place} inside the logarithm drowns unlikely choices."
        case "extra-cross-entropy" | "extra-kd" if (factor, variant.ce + variant.kd) != (1.0, 1.0):
            term = "KD's term" if name == "extra-kd" else "cross-entropy"
            terms = ((factor, "the right loss"), (variant.ce + variant.kd, term))
            parts = [f"{a:.4g} times {what}".removeprefix("1 times ") for a, what in terms]
            text = " plus ".join(parts)
            return f"{text[0].upper()}{text[1:]}."
    return None


def _failures(checked: Sequence[CheckedCase]) -> Iterator[Cause]:
    """Exceptions, hangs, crashes, and results of another shape."""
    for state in ("crashes", "hangs", "raises"):
        failing = [c for c in checked if c.outcome == state]
        if failing:
            first = min(failing, key=lambda c: c.case.size)
            yield Cause.of(state, failing, f"{first.id}: {first.result.message}.")
    misshapen = [c for c in checked if c.outcome == "wrong" and not c.shape_right]
    if misshapen:
        first = misshapen[0]
        asked = f'reduction="{first.right.over_batch}" asks for {first.expected.shape}'
        sentence = f"The result has shape {first.got.shape}; {asked}."
        yield Cause.of("wrong-shape", misshapen, sentence)


def _low_precision_dtype(checked: Sequence[CheckedCase]) -> str | None:
    """Name "float16" or "bfloat16" if every value or every gradient is a number of that format.

    A loss that converts to half precision hands its gradient back through that conversion, so
    all of its digits beyond the 8th or 11th bit are 0. No float32 loss does that by accident.
    """
    done = [c for c in checked if c.finite and "plain" in c.flags and c.case.size > 4]
    if len(done) < 4:
        return None
    slopes = [c.got_gradient for c in done if c.got_gradient is not None]
    for numbers in (_join(c.got for c in done), _join([np.zeros(1), *slopes])):
        with np.errstate(over="ignore"):
            float16 = numbers.astype(np.float16)
            bfloat16 = (numbers.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
        if np.count_nonzero(np.abs(numbers) > 1e-3) > 3:
            for name, rounded in (("float16", float16), ("bfloat16", bfloat16)):
                if np.array_equal(rounded, numbers):
                    return name
    return None


def _numerical_causes(checked: Sequence[CheckedCase], variant: Any) -> tuple[list[Cause], Formula]:
    """Why large and spread logits are off; the variant, with an eps in it if one is found."""
    failing = [c for c in checked if c.outcome == "wrong" and NUMERICAL.intersection(c.flags)]
    failing = [c for c in failing if not c.reproduced_by(variant)]
    if all(c.reproduced_by(variant, gradients=False) for c in failing):
        return [], variant
    causes = []
    spread = [c for c in checked if "spread" in c.flags and c.finite]
    eps = [replace(variant, **changes) for changes in variant.mistakes["eps-in-log"]]
    found = find_mistake(
        eps if spread and variant.log == "exact" else (),
        lambda eps: all(c.reproduced_by(eps, gradients=False) for c in spread),
    )
    explained = [c for c in failing if found and c.reproduced_by(found, gradients=False)]
    if found and explained:
        causes.append(Cause.of("eps-in-log", explained, _sentence("eps-in-log", found)))
        failing = [c for c in failing if c not in explained]
        variant = found
    if failing:
        values = _join(c.got for c in failing)
        worst = max(failing, key=lambda c: c.case.scale)
        name, what = "loses-precision", "Digits are lost"
        if not np.isfinite(values).all() or np.abs(values).max() > 1e30:
            name, what = "overflow", "exp() overflows or underflows"
        elif (values == 0.0).any():
            name, what = "nan-to-zero", "A failure is turned into 0"
        where = f"at student logits of {worst.case.scale:.0f} ({worst.id})"
        causes.append(Cause.of(name, failing, f"{what} {where}: {_difference(worst)}."))
    return causes, variant


def _gradient_causes(bad: Sequence[CheckedCase], variant: Formula) -> list[Cause]:
    """Values that obey the variant, with gradients that do not."""
    off = [c for c in bad if c.reproduced_by(variant, slack=SLACK, gradients=False)]
    off = [c for c in off if not c.reproduced_by(variant, slack=SLACK)]
    slopes = [c.got_gradient for c in off if c.got_gradient is not None]
    if slopes and not any(np.any(g) for g in slopes):
        return [Cause.of("no-gradient", off)]
    broken = [c for c in off if not c.result.gradient_error and not is_finite(c.got_gradient)]
    wrong = [c for c in off if c not in broken]
    named = (("gradient-wrong", wrong), ("gradient-not-finite", broken))
    return [Cause.of(name, cs, _gradient_sentence(cs)) for name, cs in named if cs]


def _gradient_sentence(off: Sequence[CheckedCase]) -> str:
    """How the gradient of the smallest case is wrong."""
    c = min(off, key=lambda c: c.case.size)
    got, right = c.got_gradient, c.expected_gradient
    if got is None:
        return f"The value is right; the gradient cannot be had: {c.result.gradient_error}."
    relation = describe_relation([got], [right], rtol=1e-3) or Relation("none", "")
    match relation.kind:
        case "shape":
            wrong = f"has shape {got.shape} for logits {right.shape}"
        case "not finite":
            wrong = f"holds NaN or infinity ({c.id})"
        case "sign" | "factor":
            wrong = f"is {relation.number:.4g} times what it should be ({c.id})"
        case _:
            at = np.unravel_index(np.abs(got - right).argmax(), right.shape)
            place = f"[{at[0]}, {at[1]}] of {c.id}"
            wrong = f"is not: {got[at]:.6g} at {place}, where {right[at]:.6g} is right"
    return f"The value is right, the gradient {wrong}."


def _difference(c: CheckedCase) -> str:
    if c.loss_right:
        return _gradient_sentence([c]).rstrip(".")
    return f"loss {np.ravel(c.got)[0]:.7g} where {np.ravel(c.expected)[0]:.7g} is right"


def _other_mistakes(checked: Sequence[CheckedCase]) -> Iterator[Cause]:
    """A NaN that came in and did not come out; arguments changed in place."""
    hidden = [c for c in checked if "nan" in c.flags and c.bad]
    if hidden:
        got = f"{np.ravel(hidden[0].got)[0]:.4g}, which hides the failure"
        sentence = f"A NaN among the student's logits comes out as {got}."
        yield Cause.of("nan-to-zero", hidden, sentence)
    touched = [c for c in checked if c.result.inputs_modified]
    if touched:
        yield Cause.of("inputs-modified", touched)


def _remarks(checked: Sequence[CheckedCase], passes: bool) -> Iterator[Cause]:
    """What is no mistake: a teacher that learns, trouble beyond 100 if it passes, other ties."""
    leaking = [c for c in checked if (c.result.teacher_gradient or 0.0) > 1e-6]
    if leaking:
        yield Cause.of("teacher-not-detached", leaking)
    weak = [c for c in checked if c.outcome == "weak" and not c.failure_expected]
    if weak and passes:
        c = min(weak, key=lambda c: c.case.scale)
        seen = f"{c.case.scale:.0f} ({c.id}): {c.result.message or _difference(c)}"
        sentence = f"Right up to student logits of 100. First seen off at {seen}."
        yield Cause.of("extreme-scale", weak, sentence)
    other = [c for c in checked if c.outcome == "convention"]
    if other:
        yield Cause.of("other-ties", other)


def _unknown(bad: Sequence[CheckedCase]) -> Cause:
    text = "All published cases are right, random ones are not: a table of answers?"
    return Cause.of("unknown", (), text if all("random" in c.flags for c in bad) else None)
