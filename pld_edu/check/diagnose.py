"""Diagnosis by explanation: which known mistakes would have printed exactly these numbers?

The plain cases decide on the formula: it must reproduce every one of them. What is left over,
large and spread logits, gradients, side effects, is looked at in the light of that formula.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np

from . import numerics
from .judge import Judged
from .mistakes import FORMULA, Mistake
from .recipes import Formula, Recipe
from .report import Cause

ENOUGH = 4  # Cases a formula must reproduce before it counts as an explanation.
SMALL = 16  # Logits in a case up to which gradients of candidates are compared too.
PLAIN_EPS = 1e-9  # An eps from here on shows in plain cases.
HALF_PRECISION_SLACK = 1000.0
Named = tuple[str, str | None]
LOG_BASES = {1 / math.log(2): "2", 1 / math.log(10): "10"}


@dataclass(frozen=True)
class Explanation:
    """A formula and the names (with a sentence, or the usual one) of what is wrong with it."""

    formula: Formula
    names: tuple[Named, ...] = ()


def diagnose(judged: Sequence[Judged]) -> list[Cause]:
    """Every cause that can be told from these numbers, mistakes first."""
    causes = failures_to_answer(judged)
    causes += _wrong_shape(judged)
    bad = [j for j in judged if j.bad]
    plain = [j for j in judged if j.finite and "plain" in j.case.flags and j.excused is None]
    half = numerics.low_precision_dtype(judged)
    slack = HALF_PRECISION_SLACK if half else 3.0
    explanation = explain(plain, slack)
    if half and bad:
        sentence = f"Every result is a {half} number: {half} arithmetic inside."
        causes.append(Cause.of("low-precision", sum(j.finite for j in bad), sentence))
    if explanation is not None:
        formula = explanation.formula
        explained = [j for j in bad if j.reproduced_by(formula, slack=slack, gradients=False)]
        causes += [Cause.of(name, len(explained), text) for name, text in explanation.names]
        if not half:
            numerical, formula = numerics.numerical_causes(judged, formula)
            smooth = [j for j in judged if not (numerical and j.case.numerical)]
            causes += numerical + numerics.gradient_causes(smooth, formula)
    elif any(j.bad for j in plain):
        causes.append(_unknown([j for j in bad if j.finite]))
    causes += numerics.hidden_nan(judged)
    causes += numerics.side_effects(judged)
    if bad and not any(cause.kind == "mistake" for cause in causes):
        causes.append(_unknown(bad))
    if not any(cause.kind == "mistake" for cause in causes):
        causes += numerics.extreme_cause(judged)
    return _merged(causes + numerics.ties_cause(judged))


def explain(plain: Sequence[Judged], slack: float) -> Explanation | None:
    """The right formula, one mistake, a factor, a blend, or a pair; None if nothing fits."""
    if len(plain) < ENOUGH:
        return None
    plain = sorted(plain, key=_telling, reverse=True)
    base = plain[0].question.recipe

    def fits(formula: Formula) -> bool:
        return all(j.reproduced_by(formula, slack=slack, gradients=False) for j in plain)

    def first_fit(candidates: Iterable[tuple[Recipe, tuple[Mistake, ...]]]) -> Explanation | None:
        """The first that fits with its gradients too, or else the first that fits."""
        fallback = None
        for recipe, mistakes in candidates:
            if fits(Formula.of(recipe)):
                fallback = fallback or _explanation(recipe, *mistakes)
                if all(j.reproduced_by(Formula.of(recipe), slack=slack) for j in small):
                    return _explanation(recipe, *mistakes)
        return fallback

    small = [j for j in plain if j.case.size <= SMALL]
    if fits(Formula.of(base)):
        return Explanation(Formula.of(base))
    singles = [(m, r) for m in FORMULA for r in m.recipes(base) if r != base]
    found = first_fit((r, (m,)) for m, r in singles)
    if found is not None:
        return found
    factor = _common_factor(plain, base)
    if factor is not None and fits(Formula.of(base, factor)):
        return Explanation(Formula.of(base, factor), (_name_factor(factor),))
    for formula, name in _blends(plain, base):
        if fits(formula):
            return Explanation(formula, (name,))
    found = first_fit(_pairs(base))
    if found is not None:
        return found
    for mistake, recipe in singles:
        factor = _common_factor(plain, recipe)
        if factor is not None and fits(Formula.of(recipe, factor)):
            names = ((mistake.name, None), _name_factor(factor))
            return Explanation(Formula.of(recipe, factor), names)
    return None


def _pairs(base: Recipe) -> Iterator[tuple[Recipe, tuple[Mistake, Mistake]]]:
    """Two mistakes at once that do not touch the same step."""
    for first, second in combinations(FORMULA, 2):
        for one, other in product(first.variants, second.variants):
            # A smaller eps shows on spread logits alone, where it is looked for afterwards.
            if not one.keys() & other.keys() and other.get("eps", 1.0) >= PLAIN_EPS:
                recipe = replace(base, **one, **other)
                if recipe != base and recipe.possible:
                    yield recipe, (first, second)


def _explanation(recipe: Recipe, *mistakes: Mistake) -> Explanation:
    formula = Formula.of(recipe)
    texts = {
        "eps-in-log": lambda: numerics.eps_sentence(formula),
        "temperature-fixed": lambda: (
            f"The weights have temperature {recipe.weight_temperature:g}, whatever was asked for."
        ),
        "truncated": lambda: f"Only the first {recipe.top} ranks count; the rest is dropped.",
    }
    return Explanation(
        formula, tuple((m.name, texts[m.name]() if m.name in texts else None) for m in mistakes)
    )


def _telling(j: Judged) -> tuple[bool, bool, bool]:
    """Cases that tell most mistakes apart come first: they end a comparison early."""
    rows, classes = j.case.student_logits.shape
    return j.case.temperature != 1.0, rows > 1, 3 <= classes <= 12


def _common_factor(plain: Sequence[Judged], recipe: Recipe) -> float | None:
    """What `recipe` is multiplied by in the first cases, if it is the same in both."""
    formula = Formula.of(recipe)
    big = [j for j in plain if "ties" not in j.case.flags and np.abs(j.expected).max() > 0.1][:2]
    ratios = []
    for j in big:
        value = formula.loss(j.case)
        if value.shape != j.got.shape or np.abs(value).min() < 1e-6:
            return None
        ratios.append(float(np.ravel(j.got / value)[0]))
    if len(ratios) < 2 or not np.isfinite(ratios).all() or ratios[0] == 0.0:
        return None
    return ratios[0] if math.isclose(ratios[0], ratios[1], rel_tol=1e-3) else None


def _name_factor(factor: float) -> Named:
    if math.isclose(factor, -1.0, rel_tol=1e-4):
        return "sign-flipped", None
    for value, base in LOG_BASES.items():
        if math.isclose(factor, value, rel_tol=1e-4):
            return "log-base", f"{factor:.4f} = 1/ln {base} times: logarithms to base {base}."
    return "constant-factor", f"{factor:.6g} times what it should be, in every case."


def _blends(plain: Sequence[Judged], base: Recipe) -> Iterator[tuple[Formula, Named]]:
    """PLD and something known, each times a number fitted to what came."""
    plain = [j for j in plain if "ties" not in j.case.flags]
    got = np.concatenate([np.ravel(j.got) for j in plain])
    others = (
        ("extra-cross-entropy", "cross-entropy", replace(base, weights="one-hot")),
        ("extra-kd", "KD's term, with PLD inside it", replace(base, extra="kl after")),
    )
    for name, words, other in others:
        columns = [
            np.concatenate([np.ravel(Formula.of(r).loss(j.case)) for j in plain])
            for r in (base, other)
        ]
        (a, b), *_ = np.linalg.lstsq(np.stack(columns, axis=1), got)
        if name == "extra-kd":
            a, words = a + b, "KD's term"
            formula = Formula(((a - b, base), (b, other)))
        else:
            formula = Formula(((a, base), (b, other)))
        if abs(b) > 1e-3:
            yield formula, (name, f"{a:.4g} times the right loss plus {b:.4g} times {words}.")


def failures_to_answer(judged: Sequence[Judged]) -> list[Cause]:
    """Exceptions, hangs and crashes."""
    causes = []
    for state in ("crashes", "hangs", "raises"):
        failing = [j for j in judged if j.verdict == state and j.excused is None]
        if failing:
            first = min(failing, key=lambda j: j.case.size)
            sentence = f"{first.case.id}: {first.outcome.message}."
            causes.append(Cause.of(state, len(failing), sentence))
    return causes


def _wrong_shape(judged: Sequence[Judged]) -> list[Cause]:
    failing = [j for j in judged if j.bad and j.outcome.state == "ok" and not j.shape_right]
    if not failing:
        return []
    first = failing[0]
    assert first.outcome.loss is not None
    sentence = (
        f"The result has shape {first.outcome.loss.shape}; "
        f'reduction="{first.question.reduction}" asks for {first.expected.shape}.'
    )
    return [Cause.of("wrong-shape", len(failing), sentence)]


def _merged(causes: Sequence[Cause]) -> list[Cause]:
    """One entry a name; the first sentence stays, the counts add up."""
    out: dict[str, Cause] = {}
    for cause in causes:
        if cause.name in out:
            cause = replace(out[cause.name], explains=out[cause.name].explains + cause.explains)
        out[cause.name] = cause
    return list(out.values())


def _unknown(bad: Sequence[Judged]) -> Cause:
    only_random = all("random" in j.case.flags for j in bad)
    text = "All published cases are right, random ones are not: a table of answers?"
    return Cause.of("unknown", 0, text if only_random else None)
