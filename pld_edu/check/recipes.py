"""What a PLD with given mistakes prints: the loss as a recipe, each step of which can go wrong.

`Recipe()` is the right one. It is written for complex student logits, so that its gradient comes
from a complex step, ``Im f(s + i h) / h``: exact to rounding, and no derivation for each mistake.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from .cases import Case, Floats

Complex = NDArray[np.complex128]
Numbers = NDArray[np.inexact]
STEP = 1e-30


@dataclass(frozen=True)
class Recipe:
    """The steps of the loss in the order in which they are taken."""

    student: str = "logits"  # or "softmax", "standardised"
    student_temperature: bool = False
    sort_by: str = "teacher"  # or "student", "class"
    direction: str = "descending"
    label: str = "first"  # or "sorted", "last", "twice", "absent"
    gather: str = "ranking"  # or "inverse"
    weights: str = "teacher"
    weight_temperature: str | float = "tau"  # or "ignored", "inverse", a fixed one
    weights_order: str = "ranking"  # or "class", "sorted", "reversed"
    tail: str = "later"  # or "earlier", "all", "strictly later"
    log: str = "exact"  # or "no log", or an eps, see mistakes.EPS_PLACES
    eps: float = 0.0
    top: int | None = None
    cut: bool = False  # the list itself ends after `top`, not only the sum
    over_classes: str = "sum"
    tau_power: int = 0
    over_batch: str = "mean"  # or "sum", "twice", "none"
    extra: str = "none"  # or "ce in rows", "ce of scaled", "ce after", "kl after"

    @property
    def possible(self) -> bool:
        """False for a list of C-1 or C+1 classes where only one of C makes sense."""
        whole = self.label not in ("twice", "absent")
        return whole or (self.gather == "ranking" and self.weights_order != "class")


@dataclass(frozen=True)
class Formula:
    """A sum of recipes with coefficients; nearly always one recipe, once."""

    terms: tuple[tuple[float, Recipe], ...]

    @classmethod
    def of(cls, recipe: Recipe, factor: float = 1.0) -> "Formula":
        """One recipe times a factor."""
        return cls(((factor, recipe),))

    def loss(self, case: Case, keys: Floats | None = None) -> Floats:
        """Value: [], or [N] without reduction."""
        return np.sum([a * loss(r, case, keys).real for a, r in self.terms], axis=0)

    def gradient(self, case: Case, keys: Floats | None = None) -> Floats:
        """Gradient [N, C] in the student's logits."""
        return np.sum([a * gradient(r, case, keys) for a, r in self.terms], axis=0)

    def changed(self, **changes: Any) -> "Formula":
        """The same sum of changed recipes."""
        return Formula(tuple((a, replace(r, **changes)) for a, r in self.terms))


def loss(
    recipe: Recipe, case: Case, keys: Floats | None = None, s: Complex | None = None
) -> Numbers:
    """Value of `recipe` on `case`: [...], or [..., N] without reduction.

    Parameters
    ----------
    recipe : Recipe
    case : Case
    keys : array [N, C]
        Sorted instead of the teacher's logits, to break ties in another way.
    s : complex array [..., N, C]
        Stands in for the student's logits.
    """
    original: Numbers = case.student_logits if s is None else s
    t, y, tau = case.teacher_logits, case.labels, case.temperature
    x = _student(recipe, original, tau)
    order = _ranking(recipe, case, t if keys is None else keys)
    ranked = _gather(x, order)
    with np.errstate(all="ignore"):
        steps = _alpha(recipe, case, x, order, t) * _steps(recipe, ranked)
    if recipe.top is not None:
        steps = steps[..., : recipe.top]
    rows = steps.sum(axis=-1)
    if recipe.extra in ("ce in rows", "ce of scaled"):
        rows = rows + _cross_entropy(original if recipe.extra == "ce in rows" else x, y)
    if recipe.over_classes == "mean":
        rows = rows / order.shape[-1]
    rows = rows * tau**recipe.tau_power
    value = _reduce(rows, recipe.over_batch)
    after = recipe.over_batch if recipe.over_batch == "none" else "mean"
    if recipe.extra == "ce after":
        value = value + _reduce(_cross_entropy(original, y), after)
    elif recipe.extra == "kl after":
        value = value + _reduce(_divergence(original, t, tau), after)
    return value


def gradient(recipe: Recipe, case: Case, keys: Floats | None = None) -> Floats:
    """Gradient [N, C] of the (summed, if not reduced) value in the student's logits."""
    n, c = case.student_logits.shape
    bumps = 1j * STEP * np.eye(n * c).reshape(n * c, n, c)
    value = loss(recipe, case, keys, case.student_logits + bumps)
    total = value.sum(axis=-1) if recipe.over_batch == "none" else value
    return total.imag.reshape(n, c) / STEP


def _student(recipe: Recipe, s: Numbers, tau: float) -> Numbers:
    if recipe.student_temperature:
        s = s / tau
    if recipe.student == "softmax":
        e = np.exp(s - s.real.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)
    return _standardised(s) if recipe.student == "standardised" else s


def _standardised(x: Numbers) -> Numbers:
    centred = x - x.mean(axis=-1, keepdims=True)
    with np.errstate(all="ignore"):
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True))


def _ranking(recipe: Recipe, case: Case, keys: Floats) -> NDArray[np.int64]:
    """Class at each rank [N, K]; K differs from C if the label is there twice or not at all."""
    sort_by = {
        "teacher": keys,
        "student": case.student_logits,
        "class": np.broadcast_to(-np.arange(keys.shape[-1]), keys.shape),
    }[recipe.sort_by]
    sign = 1.0 if recipe.direction == "descending" else -1.0
    order = np.argsort(-sign * sort_by, axis=-1, kind="stable")
    label = case.labels[:, None]
    others = order[order != label].reshape(len(order), -1)
    full = {
        "first": np.hstack([label, others]),
        "last": np.hstack([others, label]),
        "twice": np.hstack([label, order]),
        "absent": others,
        "sorted": order,
    }[recipe.label]
    if recipe.gather == "inverse":
        full = np.argsort(full, axis=-1)
    return full[:, : recipe.top] if recipe.cut else full


def _alpha(recipe: Recipe, case: Case, s: Numbers, order: NDArray[np.int64], t: Floats) -> Numbers:
    """Weight of each rank [..., N, K]."""
    classes = t.shape[-1]
    tau = _weight_temperature(recipe, case.temperature)
    z = t / tau
    if recipe.weights == "position":
        k = np.arange(1.0, order.shape[-1] + 1)
        alpha = 2.0**-k - 2.0 ** -float(classes)
        return alpha / alpha.sum()
    q = softmax(z, axis=-1)
    label = np.arange(classes) == case.labels[:, None]
    by_class: Numbers
    match recipe.weights:
        case "teacher":
            by_class = q
        case "ones":
            by_class = np.ones_like(q)
        case "uniform":
            by_class = np.full_like(q, 1.0 / classes)
        case "renormalised tail":
            rest = np.where(label, 0.0, q)
            by_class = np.where(label, 1.0, rest / rest.sum(axis=-1, keepdims=True))
        case "label one":
            by_class = np.where(label, 1.0, q)
        case "label only":
            by_class = np.where(label, q, 0.0)
        case "one-hot":
            by_class = label.astype(float)
        case "student" | "student, detached":
            x = s / tau if recipe.weights == "student" else s.real / tau
            e = np.exp(x - x.real.max(axis=-1, keepdims=True))
            by_class = e / e.sum(axis=-1, keepdims=True)
        case "logits":
            by_class = z
        case "log":
            by_class = np.log(q)
        case "over batch":
            by_class = softmax(z, axis=0)
        case "standardised":
            by_class = softmax(_standardised(t).real / tau, axis=-1)
        case _:
            raise KeyError(recipe.weights)
    match recipe.weights_order:
        case "class":
            return by_class[..., : order.shape[-1]]
        case "sorted":
            return -np.sort(-_gather(by_class, order), axis=-1)
    ranked = _gather(by_class, order)
    return ranked[..., ::-1] if recipe.weights_order == "reversed" else ranked


def _weight_temperature(recipe: Recipe, tau: float) -> float:
    named = {"tau": tau, "ignored": 1.0, "inverse": 1.0 / tau}
    chosen = recipe.weight_temperature
    return named[chosen] if isinstance(chosen, str) else chosen


def _gather(x: Numbers, order: NDArray[np.int64]) -> Numbers:
    """Classes [..., N, C] in rank order [..., N, K]."""
    return np.take_along_axis(x, np.broadcast_to(order, (*x.shape[:-1], order.shape[-1])), -1)


def _steps(recipe: Recipe, s: Numbers) -> Numbers:
    """Loss of each choice [..., N, K]."""
    # Harmless without an eps; with one, it matters whether the largest logit is differentiated.
    largest = np.take_along_axis(s, s.real.argmax(axis=-1, keepdims=True), -1)
    shift = {"raw sum": 0.0 * largest, "attached sum": largest}.get(recipe.log, largest.real)
    x = s - shift
    e = np.exp(x)
    total = np.flip(np.flip(e, -1).cumsum(axis=-1), -1)
    if recipe.tail == "earlier":
        total = e.cumsum(axis=-1)
    elif recipe.tail == "all":
        total = np.broadcast_to(e.sum(axis=-1, keepdims=True), e.shape)
    elif recipe.tail == "strictly later":
        total = np.concatenate([total[..., 1:], e[..., -1:]], axis=-1)
    match recipe.log:
        case "probability":
            return -np.log(e / total + recipe.eps)
        case "clamp":
            p = e / total
            return -np.log(np.where(p.real < recipe.eps, recipe.eps, p))
        case "no log":
            return -e / total
    return np.log(total + recipe.eps) - x


def _cross_entropy(s: Numbers, y: NDArray[np.int64]) -> Numbers:
    x = s - s.real.max(axis=-1, keepdims=True)
    return np.log(np.exp(x).sum(axis=-1)) - x[..., np.arange(len(y)), y]


def _divergence(s: Numbers, t: Floats, tau: float) -> Numbers:
    q = softmax(t / tau, axis=-1)
    x = (s - s.real.max(axis=-1, keepdims=True)) / tau
    log_p = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    log_q = np.log(np.maximum(q, 1e-300))
    return tau**2 * (q * (log_q - log_p)).sum(axis=-1)


def _reduce(rows: Numbers, how: str) -> Numbers:
    if how == "none":
        return rows
    total = rows.sum(axis=-1)
    return total if how == "sum" else total / rows.shape[-1] ** (2 if how == "twice" else 1)
