"""PLD with mistakes in it: the loss step by step, with a switch at each step that can go wrong.

The right loss (arXiv 2506.12542) of one row with student logits s, teacher logits t and label y:

    pi      = (y, then the other classes by descending t)        the ranking
    alpha_k = softmax(t / tau)[pi_k]                             the weights
    R_k     = log sum_{l >= k} exp(s_{pi_l})                     the tails
    L       = sum_k alpha_k (R_k - s_{pi_k})                     averaged over the rows

`LossVariant()` is this loss. Student logits may be complex, so that all gradients come from a
complex step, ``Im L(s + i h) / h``: exact to rounding, without a derivation for each mistake.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from .cases import Case, Floats

Numbers = NDArray[np.inexact]
STEP = 1e-30


@dataclass(frozen=True)
class LossVariant:
    """The steps of the loss in the order in which they are taken; the default is PLD."""

    student: str = "logits"  # or "softmax", "standardised"
    student_temperature: bool = False
    sort_by: str = "teacher"  # or "student", "class"
    direction: str = "descending"
    label: str = "first"  # or "sorted", "last", "twice", "absent"
    gather: str = "ranking"  # or "inverse"
    weights: str = "teacher"  # or another of `_weights_by_class`, or "position"
    weight_temperature: str | float = "tau"  # or "ignored", "inverse", a fixed one
    weights_order: str = "ranking"  # or "class", "sorted", "reversed"
    tail: str = "later"  # or "earlier", "all", "strictly later"
    log: str = "exact"  # or "no log", or where an eps stands, see mistakes.EPS_PLACES
    eps: float = 0.0
    top: int | None = None  # only the first so many ranks count
    cut: bool = False  # the list itself ends after `top`, not only the sum
    over_classes: str = "sum"  # or "mean"
    tau_power: int = 0
    over_batch: str = "mean"  # or "sum", "twice", "none"
    factor: float = 1.0
    extra: str = "none"  # or "ce in rows", "ce of scaled", "ce after", "kl after"
    extra_factor: float = 1.0

    @property
    def possible(self) -> bool:
        """False for a list of C-1 or C+1 classes where only one of C makes sense."""
        whole = self.label not in ("twice", "absent")
        return whole or (self.gather == "ranking" and self.weights_order != "class")


def loss(
    variant: LossVariant, case: Case, keys: Floats | None = None, s: Numbers | None = None
) -> Numbers:
    """Value of a variant on a case: [...], or [..., N] without reduction.

    `keys` [N, C] are sorted instead of the teacher's logits, to break ties in another way; `s`
    [..., N, C], real or complex, stands in for the student's logits.
    """
    original: Numbers = case.student_logits if s is None else s
    t, tau = case.teacher_logits, case.temperature
    x = _student(variant, original, tau)
    pi = _ranking(variant, case, t if keys is None else keys)
    with np.errstate(all="ignore"):
        terms = _alpha(variant, case, x, pi) * _steps(variant, _gather(x, pi))
    rows = variant.factor * terms[..., : variant.top].sum(-1)  # L = sum_k alpha_k (R_k - s_{pi_k})
    extra = variant.extra_factor * _extra(variant, original, x, case)
    after = variant.extra.endswith("after")
    if not after:
        rows = rows + extra
    if variant.over_classes == "mean":
        rows = rows / pi.shape[-1]
    value = _reduce(rows * tau**variant.tau_power, variant.over_batch)
    if after:
        value = value + _reduce(extra, "none" if variant.over_batch == "none" else "mean")
    return value


def gradient(variant: LossVariant, case: Case, keys: Floats | None = None) -> Floats:
    """Gradient [N, C] of the (summed, if not reduced) value in the student's logits."""
    n, c = case.student_logits.shape
    bumps = 1j * STEP * np.eye(n * c).reshape(n * c, n, c)
    value = loss(variant, case, keys, case.student_logits + bumps)
    total = value.sum(axis=-1) if variant.over_batch == "none" else value
    return total.imag.reshape(n, c) / STEP  # dL/ds_i = Im L(s + i h e_i) / h


def _student(variant: LossVariant, s: Numbers, tau: float) -> Numbers:
    if variant.student_temperature:
        s = s / tau
    if variant.student == "softmax":
        return np.exp(_log_softmax(s))
    return _standardise(s) if variant.student == "standardised" else s


def _ranking(variant: LossVariant, case: Case, keys: Floats) -> NDArray[np.int64]:
    """Class pi_k at each rank [N, K]; K is not C if the label is there twice or not at all."""
    sort_by = {
        "teacher": keys,
        "student": case.student_logits,
        "class": np.broadcast_to(-np.arange(keys.shape[-1]), keys.shape),
    }[variant.sort_by]
    sign = 1.0 if variant.direction == "descending" else -1.0
    order = np.argsort(-sign * sort_by, axis=-1, kind="stable")
    y = case.labels[:, None]
    others = order[order != y].reshape(len(order), -1)
    pi = {
        "first": np.hstack([y, others]),
        "last": np.hstack([others, y]),
        "twice": np.hstack([y, order]),
        "absent": others,
        "sorted": order,
    }[variant.label]
    if variant.gather == "inverse":
        pi = np.argsort(pi, axis=-1)
    return pi[:, : variant.top] if variant.cut else pi


def _alpha(variant: LossVariant, case: Case, s: Numbers, pi: NDArray[np.int64]) -> Numbers:
    """Weight alpha_k of each rank [..., N, K]."""
    if variant.weights == "position":  # 2^(C-k) - 1, scaled to sum to 1
        k = np.arange(1.0, pi.shape[-1] + 1)
        alpha = 2.0**-k - 2.0 ** -float(s.shape[-1])
        return alpha / alpha.sum()
    q = _weights_by_class(variant, case, s)
    match variant.weights_order:
        case "class":
            return q[..., : pi.shape[-1]]  # q_k
        case "sorted":
            return -np.sort(-_gather(q, pi), axis=-1)
        case "reversed":
            return _gather(q, pi)[..., ::-1]
    return _gather(q, pi)  # alpha_k = q[pi_k]


def _weights_by_class(variant: LossVariant, case: Case, s: Numbers) -> Numbers:
    """Weight of each class [..., N, C], q = softmax(t / tau) in PLD."""
    t, tau = case.teacher_logits, variant.weight_temperature
    if isinstance(tau, str):
        tau = {"tau": case.temperature, "ignored": 1.0, "inverse": 1.0 / case.temperature}[tau]
    q = softmax(t / tau, axis=-1)
    label = np.arange(t.shape[-1]) == case.labels[:, None]
    rest = np.where(label, 0.0, q)
    weights: dict[str, Callable[[], Numbers]] = {
        "teacher": lambda: q,
        "ones": lambda: np.ones_like(q),
        "uniform": lambda: np.full_like(q, 1.0 / q.shape[-1]),
        "renormalised tail": lambda: np.where(label, 1.0, rest / rest.sum(-1, keepdims=True)),
        "label one": lambda: np.where(label, 1.0, q),
        "label only": lambda: np.where(label, q, 0.0),
        "one-hot": lambda: label.astype(float),
        "student": lambda: np.exp(_log_softmax(s / tau)),
        "student, detached": lambda: np.exp(_log_softmax(s.real / tau)),
        "logits": lambda: t / tau,
        "log": lambda: log_softmax(t / tau, axis=-1),
        "over batch": lambda: softmax(t / tau, axis=0),
        "standardised": lambda: softmax(_standardise(t) / tau, axis=-1),
    }
    return weights[variant.weights]()


def _steps(variant: LossVariant, s: Numbers) -> Numbers:
    """Loss of each choice [..., N, K], ``R_k - s_k``, from student logits in rank order."""
    # Harmless without an eps; with one, it matters whether the largest logit is differentiated.
    largest = np.take_along_axis(s, s.real.argmax(axis=-1, keepdims=True), -1)
    shift = {"raw sum": 0.0 * largest, "attached sum": largest}.get(variant.log, largest.real)
    x = s - shift
    e = np.exp(x)
    total = np.flip(np.flip(e, -1).cumsum(axis=-1), -1)  # exp(R_k) = sum_{l >= k} exp(s_l)
    if variant.tail == "earlier":
        total = e.cumsum(axis=-1)
    elif variant.tail == "all":
        total = np.broadcast_to(e.sum(axis=-1, keepdims=True), e.shape)
    elif variant.tail == "strictly later":
        total = np.concatenate([total[..., 1:], e[..., -1:]], axis=-1)
    p = e / total  # p_k = exp(s_k - R_k)
    match variant.log:
        case "probability":
            return -np.log(p + variant.eps)
        case "clamp":
            return -np.log(np.where(p.real < variant.eps, variant.eps, p))
        case "no log":
            return -p
    return np.log(total + variant.eps) - x


def _gather(x: Numbers, pi: NDArray[np.int64]) -> Numbers:
    """Classes [..., N, C] in rank order [..., N, K]: x[pi_k]."""
    return np.take_along_axis(x, np.broadcast_to(pi, (*x.shape[:-1], pi.shape[-1])), -1)


def _log_softmax(x: Numbers) -> Numbers:
    """``x_c - log sum_l exp(x_l)``, for complex numbers too."""
    x = x - x.real.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _standardise(x: Numbers) -> Numbers:
    centred = x - x.mean(axis=-1, keepdims=True)
    with np.errstate(all="ignore"):
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True))


def _extra(variant: LossVariant, s: Numbers, x: Numbers, case: Case) -> Numbers:
    """What is added to each row [..., N]: cross-entropy of s or of x, KD's term, or 0."""
    y, tau = case.labels, case.temperature
    if variant.extra == "none":
        return np.zeros(len(y))
    if variant.extra == "kl after":  # tau^2 KL(softmax(t / tau) || softmax(s / tau))
        q = softmax(case.teacher_logits / tau, axis=-1)
        log_q = np.log(np.maximum(q, 1e-300))
        return tau**2 * (q * (log_q - _log_softmax(s / tau))).sum(axis=-1)
    log_p = _log_softmax(x if variant.extra == "ce of scaled" else s)
    return -log_p[..., np.arange(len(y)), y]  # log sum_c exp(s_c) - s_y


def _reduce(rows: Numbers, how: str) -> Numbers:
    if how == "none":
        return rows
    total = rows.sum(axis=-1)
    return total if how == "sum" else total / rows.shape[-1] ** (2 if how == "twice" else 1)
