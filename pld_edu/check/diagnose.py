"""From checked cases to causes: which known mistakes would have printed exactly these numbers?

The plain cases decide on the variant of the loss: it must reproduce every one of them. `numerics`
then compares the rest with that variant: large and spread logits, gradients, side effects.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from . import numerics
from .cases import Floats
from .compare import CheckedCase
from .engine import common_factor, find_mistake
from .mistakes import MISTAKES
from .report import Cause
from .variants import LossVariant, loss

ENOUGH = 4  # Cases a variant must reproduce before it counts as an explanation.
SMALL = 16  # Logits in a case up to which gradients of candidates are compared too.
PLAIN_EPS = 1e-9  # An eps from here on shows in plain cases.
SLACK, HALF_PRECISION_SLACK = 3.0, 1000.0
LOG_BASES = {1 / math.log(2): "2", 1 / math.log(10): "10"}


class Explanation(NamedTuple):
    """A variant, and the mistakes in it: a name, and a sentence or None for the usual one."""

    variant: LossVariant
    mistakes: tuple[tuple[str, str | None], ...] = ()


def diagnose(checked: Sequence[CheckedCase]) -> list[Cause]:
    """Every cause that can be told from these numbers, mistakes first."""
    causes = failures_to_answer(checked)
    bad = [c for c in checked if c.bad]
    misshapen = [c for c in bad if c.result.state == "ok" and not c.shape_right]
    if misshapen:
        first = misshapen[0]
        asked = f'reduction="{first.task.reduction}" asks for {first.expected.shape}'
        sentence = f"The result has shape {first.got.shape}; {asked}."
        causes.append(Cause.of("wrong-shape", misshapen, sentence))
    plain = [c for c in checked if c.finite and "plain" in c.flags and not c.failure_expected]
    half = numerics.low_precision_dtype(checked)
    slack = HALF_PRECISION_SLACK if half else SLACK
    explanation = explain(plain, slack)
    if half and bad:
        sentence = f"Every result is a {half} number: {half} arithmetic inside."
        causes.append(Cause.of("low-precision", [c for c in bad if c.finite], sentence))
    if explanation is not None:
        variant, mistakes = explanation
        explained = [c for c in bad if c.reproduced_by(variant, slack=slack, gradients=False)]
        causes += [Cause.of(name, explained, sentence) for name, sentence in mistakes]
        if not half:
            numerical, variant = numerics.numerical_causes(checked, variant)
            smooth = [c for c in checked if not (numerical and c.case.numerical)]
            causes += numerical + numerics.gradient_causes(smooth, variant)
    elif any(c.bad for c in plain):
        causes.append(_unknown([c for c in bad if c.finite]))
    causes += numerics.other_mistakes(checked)
    if bad and not any(cause.kind == "mistake" for cause in causes):
        causes.append(_unknown(bad))
    passes = not any(cause.kind == "mistake" for cause in causes)
    return _merge(causes + numerics.remarks(checked, extreme=passes))


def failures_to_answer(checked: Sequence[CheckedCase]) -> list[Cause]:
    """Exceptions, hangs and crashes."""
    causes = []
    for state in ("crashes", "hangs", "raises"):
        failing = [c for c in checked if c.outcome == state]
        if failing:
            first = min(failing, key=lambda c: c.case.size)
            causes.append(Cause.of(state, failing, f"{first.id}: {first.result.message}."))
    return causes


def explain(plain: Sequence[CheckedCase], slack: float) -> Explanation | None:
    """The right loss, one mistake, a factor, a blend, or a pair; None if nothing fits."""
    if len(plain) < ENOUGH:
        return None
    plain = sorted(plain, key=_distinguishes, reverse=True)
    small = [c for c in plain if c.case.size <= SMALL]
    right = plain[0].task.variant
    singles = [
        (variant, mistake.name)
        for mistake in MISTAKES
        for variant in (replace(right, **changes) for changes in mistake.variants)
        if variant != right
    ]

    def fits(candidate: Explanation) -> bool:
        return all(c.reproduced_by(candidate.variant, slack=slack, gradients=False) for c in plain)

    def fits_gradients(candidate: Explanation) -> bool:
        return all(c.reproduced_by(candidate.variant, slack=slack) for c in small)

    for candidates in (
        [Explanation(right)],
        (_explanation(variant, name) for variant, name in singles),
        _scaled(plain, right),
        _blends(plain, right),
        _pairs(right),
        (scaled for variant, name in singles for scaled in _scaled(plain, variant, name)),
    ):
        found = find_mistake(candidates, fits, fits_gradients)
        if found is not None:
            return found
    return None


def _explanation(variant: LossVariant, *names: str) -> Explanation:
    def sentence(name: str) -> str | None:
        if name == "eps-in-log":
            return numerics.eps_sentence(variant)
        if name == "temperature-fixed":
            tau = variant.weight_temperature
            return f"The weights have temperature {tau:g}, whatever was asked for."
        if name == "truncated":
            return f"Only the first {variant.top} ranks count; the rest is dropped."
        return None

    return Explanation(variant, tuple((name, sentence(name)) for name in names))


def _pairs(right: LossVariant) -> Iterator[Explanation]:
    """Two mistakes at once that do not touch the same step."""
    for first, second in combinations(MISTAKES, 2):
        for one, other in product(first.variants, second.variants):
            # A smaller eps shows on spread logits alone, where it is looked for afterwards.
            if not one.keys() & other.keys() and other.get("eps", 1.0) >= PLAIN_EPS:
                variant = replace(right, **one, **other)
                if variant != right and variant.possible:
                    yield _explanation(variant, first.name, second.name)


def _scaled(
    plain: Sequence[CheckedCase], variant: LossVariant, *names: str
) -> Iterator[Explanation]:
    """The variant times a factor, if two cases with large losses agree on one."""
    big = [c for c in plain if "ties" not in c.flags and np.abs(c.expected).max() > 0.1][:2]
    if len(big) == 2:
        factor = common_factor(_join(c.got for c in big), _values(variant, big), rtol=1e-3)
        if factor is not None:
            scaled = replace(variant, factor=factor, extra_factor=factor)
            known = _explanation(variant, *names).mistakes
            yield Explanation(scaled, (*known, _name_factor(factor)))


def _name_factor(factor: float) -> tuple[str, str | None]:
    if math.isclose(factor, -1.0, rel_tol=1e-4):
        return "sign-flipped", None
    for value, base in LOG_BASES.items():
        if math.isclose(factor, value, rel_tol=1e-4):
            return "log-base", f"{factor:.4f} = 1/ln {base} times: logarithms to base {base}."
    return "constant-factor", f"{factor:.6g} times what it should be, in every case."


def _blends(plain: Sequence[CheckedCase], right: LossVariant) -> Iterator[Explanation]:
    """``a L + b M``: the right loss plus a term that people add, a and b by least squares."""
    plain = [c for c in plain if "ties" not in c.flags]
    for name, words, extra in (
        ("extra-cross-entropy", "cross-entropy", "ce in rows"),
        ("extra-kd", "KD's term", "kl after"),
    ):
        columns = [
            _values(replace(right, factor=a, extra=extra, extra_factor=1.0 - a), plain)
            for a in (1.0, 0.0)
        ]
        got = _join(c.got for c in plain)
        (a, b), *_ = np.linalg.lstsq(np.stack(columns, axis=1), got)
        if abs(b) > 1e-3:
            sentence = f"{_times(a, 'the right loss')} plus {_times(b, words)}."
            blend = replace(right, factor=a, extra=extra, extra_factor=b)
            yield Explanation(blend, ((name, sentence[0].upper() + sentence[1:]),))


def _times(factor: float, words: str) -> str:
    text = f"{factor:.4g}"
    return words if text == "1" else f"{text} times {words}"


def _values(variant: LossVariant, checked: Sequence[CheckedCase]) -> Floats:
    """What the variant gives in these cases, one after the other."""
    return _join(loss(variant, c.case).real for c in checked)


def _join(values: Iterable[Floats]) -> Floats:
    return np.concatenate([np.ravel(v) for v in values])


def _distinguishes(c: CheckedCase) -> tuple[bool, bool, bool]:
    """Cases that tell most mistakes apart come first: they end a comparison early."""
    rows, classes = c.case.student_logits.shape
    return c.case.temperature != 1.0, rows > 1, 3 <= classes <= 12


def _merge(causes: Sequence[Cause]) -> list[Cause]:
    """One entry per name; the first sentence stays, the counts add up."""
    out: dict[str, Cause] = {}
    for cause in causes:
        if cause.name in out:
            cause = replace(out[cause.name], explains=out[cause.name].explains + cause.explains)
        out[cause.name] = cause
    return list(out.values())


def _unknown(bad: Sequence[CheckedCase]) -> Cause:
    only_random = all("random" in c.flags for c in bad)
    text = "All published cases are right, random ones are not: a table of answers?"
    return Cause.of("unknown", (), text if only_random else None)
