"""PLD with mistakes in it: the loss step by step, with a switch at each step that can go wrong.

The right loss (arXiv 2506.12542) of one row with student logits s, teacher logits t and label y:

    pi      = (y, then the other classes by descending t)        the ranking
    alpha_k = softmax(t / tau)[pi_k]                             the weights
    R_k     = log sum_{l >= k} exp(s_{pi_l})                     the tails
    L       = sum_k alpha_k (R_k - s_{pi_k})                     averaged over the rows
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from .cases import Case, Floats
from .formula import COMMON, Changes, Formula, Numbers, gather, log_softmax, reduce, standardise

EPSILONS = (2.0**-23, *(10.0**-k for k in range(3, 17)), 2.0**-52)
EPS_PLACES = ("sum", "attached sum", "raw sum", "probability", "clamp")


MISTAKES: dict[str, tuple[Changes, ...]] = {
    **COMMON,
    "sum-over-classes": ({"over_classes": "sum"},),
    "label-not-first": ({"label": "sorted"},),
    "tail-ascending": ({"direction": "ascending"},),
    "label-last": ({"label": "last"},),
    "label-twice": ({"label": "twice"},),
    "label-missing": ({"label": "absent"},),
    "order-by-student": ({"sort_by": "student"},),
    "not-sorted": ({"sort_by": "class"},),
    "inverse-permutation": ({"gather": "inverse"},),
    "prefix-sums": ({"tail": "earlier"},),
    "full-softmax": ({"tail": "all"},),
    "tail-excludes-self": ({"tail": "strictly later"},),
    "weights-not-permuted": ({"weights_order": "class"},),
    "weights-sorted": ({"weights_order": "sorted"},),
    "weights-reversed": ({"weights_order": "reversed"},),
    "uniform-weights": ({"weights": "uniform"}, {"weights": "ones"}),
    "teacher-weights": ({"weights": "teacher"},),
    "position-weights": ({"weights": "position"},),
    "renormalised-tail": ({"weights": "renormalised tail"},),
    "label-weight-one": ({"weights": "label one"},),
    "label-term-only": ({"weights": "label only"},),
    "cross-entropy-only": ({"weights": "one-hot"},),
    "truncated": tuple({"top": k, "cut": cut} for k in (2, 3, 5, 10) for cut in (False, True)),
    "student-weights": ({"weights": "student, detached"}, {"weights": "student"}),
    "weights-without-softmax": ({"weights": "logits"}, {"weights": "log"}),
    "softmax-over-batch": ({"weights": "over batch"},),
    "student-temperature": ({"student_temperature": True},),
    "temperature-ignored": ({"weight_temperature": "ignored"},),
    "temperature-inverted": ({"weight_temperature": "inverse"},),
    "temperature-fixed": tuple({"weight_temperature": k} for k in (0.5, 1.5, 2, 3, 4, 5, 8, 10)),
    "temperature-squared": ({"tau_power": 2},),
    "temperature-factor": ({"tau_power": 1}, {"tau_power": -1}, {"tau_power": -2}),
    "extra-cross-entropy": (
        {"ce": 1.0, "ce_kind": "alike"},
        {"ce": 1.0},
        {"ce": 1.0, "ce_kind": "softened"},
    ),
    "extra-kd": ({"kd": 1.0},),
    "student-softmaxed": ({"student": "softmax"},),
    "standardised-logits": (
        {"student": "standardised"},
        {"weights": "standardised"},
        {"student": "standardised", "weights": "standardised"},
    ),
    "no-logarithm": ({"log": "no log"},),
    "eps-in-log": tuple({"log": place, "eps": eps} for place in EPS_PLACES for eps in EPSILONS),
}


@dataclass(frozen=True)
class PLD(Formula):
    """The steps of PLD in the order in which they are taken."""

    name: ClassVar[str] = "pld"
    title: ClassVar[str] = "PLD"
    source: ClassVar[str] = "arXiv 2506.12542"
    terms: ClassVar[dict[str, str]] = {"factor": "PLD", "ce": "CE", "kd": "KD's term"}
    mistakes: ClassVar[dict[str, tuple[Changes, ...]]] = MISTAKES

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
    log: str = "exact"  # or "no log", or where an eps stands: one of `EPS_PLACES`
    eps: float = 0.0
    top: int | None = None  # only the first so many ranks count
    cut: bool = False  # the list itself ends after `top`, not only the sum
    kd: float = 0.0  # coefficient of KD's term

    @property
    def possible(self) -> bool:
        """False for a list of C-1 or C+1 classes where only one of C makes sense."""
        whole = self.label not in ("twice", "absent")
        return whole or (self.gather == "ranking" and self.weights_order != "class")

    def shares(self, case: Case) -> dict[str, float]:
        if self.weights == "teacher":
            return {"pld": 1.0}
        classes = case.student_logits.shape[-1]
        return {"uniform": float(classes) if self.weights == "ones" else 1.0}

    def part(self, term: str, case: Case, s: Numbers, keys: Floats) -> Numbers:
        if term == "kd":
            return self._kd(case, s)
        x = self._student(s, case.temperature)
        if term == "ce":
            return self.cross_entropy(case, s, x)
        pi = self._ranking(case, keys)
        terms = self._alpha(case, x, pi) * self._steps(gather(x, pi))
        rows = terms[..., : self.top].sum(-1)  # L = sum_k alpha_k (R_k - s_{pi_k})
        return self.reduce(rows, case, pi.shape[-1])

    def _student(self, s: Numbers, tau: float) -> Numbers:
        if self.student_temperature:
            s = s / tau
        if self.student == "softmax":
            return np.exp(log_softmax(s))
        return standardise(s) if self.student == "standardised" else s

    def _ranking(self, case: Case, keys: Floats) -> NDArray[np.int64]:
        """Class pi_k at each rank [N, K]; K is not C if the label is there twice or not at all."""
        sort_by = {
            "teacher": keys,
            "student": case.student_logits,
            "class": np.broadcast_to(-np.arange(keys.shape[-1]), keys.shape),
        }[self.sort_by]
        sign = 1.0 if self.direction == "descending" else -1.0
        order = np.argsort(-sign * sort_by, axis=-1, kind="stable")
        y = case.labels[:, None]
        others = order[order != y].reshape(len(order), -1)
        pi = {
            "first": np.hstack([y, others]),
            "last": np.hstack([others, y]),
            "twice": np.hstack([y, order]),
            "absent": others,
            "sorted": order,
        }[self.label]
        if self.gather == "inverse":
            pi = np.argsort(pi, axis=-1)
        return pi[:, : self.top] if self.cut else pi

    def _alpha(self, case: Case, s: Numbers, pi: NDArray[np.int64]) -> Numbers:
        """Weight alpha_k of each rank [..., N, K]."""
        if self.weights == "position":  # 2^(C-k) - 1, scaled to sum to 1
            k = np.arange(1.0, pi.shape[-1] + 1)
            alpha = 2.0**-k - 2.0 ** -float(s.shape[-1])
            return alpha / alpha.sum()
        q = self._weights_by_class(case, s)
        match self.weights_order:
            case "class":
                return q[..., : pi.shape[-1]]  # q_k
            case "sorted":
                return -np.sort(-gather(q, pi), axis=-1)
            case "reversed":
                return gather(q, pi)[..., ::-1]
        return gather(q, pi)  # alpha_k = q[pi_k]

    def _weights_by_class(self, case: Case, s: Numbers) -> Numbers:
        """Weight of each class [..., N, C], q = softmax(t / tau) in PLD."""
        t, tau = case.teacher_logits, self.weight_temperature
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
            "student": lambda: np.exp(log_softmax(s / tau)),
            "student, detached": lambda: np.exp(log_softmax(s.real / tau)),
            "logits": lambda: t / tau,
            "log": lambda: log_softmax(t / tau),
            "over batch": lambda: softmax(t / tau, axis=0),
            "standardised": lambda: softmax(standardise(t) / tau, axis=-1),
        }
        return weights[self.weights]()

    def _steps(self, s: Numbers) -> Numbers:
        """Loss of each choice [..., N, K], ``R_k - s_k``, from student logits in rank order."""
        # Harmless without an eps; with one, it matters whether the largest logit is differentiated.
        largest = np.take_along_axis(s, s.real.argmax(axis=-1, keepdims=True), -1)
        shift = {"raw sum": 0.0 * largest, "attached sum": largest}.get(self.log, largest.real)
        x = s - shift
        e = np.exp(x)
        total = np.flip(np.flip(e, -1).cumsum(axis=-1), -1)  # exp(R_k) = sum_{l >= k} exp(s_l)
        if self.tail == "earlier":
            total = e.cumsum(axis=-1)
        elif self.tail == "all":
            total = np.broadcast_to(e.sum(axis=-1, keepdims=True), e.shape)
        elif self.tail == "strictly later":
            total = np.concatenate([total[..., 1:], e[..., -1:]], axis=-1)
        p = e / total  # p_k = exp(s_k - R_k)
        match self.log:
            case "probability":
                return -np.log(p + self.eps)
            case "clamp":
                return -np.log(np.where(p.real < self.eps, self.eps, p))
            case "no log":
                return -p
        return np.log(total + self.eps) - x

    def _kd(self, case: Case, s: Numbers) -> Numbers:
        """``tau^2 KL(softmax(t / tau) || softmax(s / tau))``, averaged as it should be."""
        tau = case.temperature
        log_q = log_softmax(case.teacher_logits / tau)
        rows = tau**2 * (np.exp(log_q) * (log_q - log_softmax(s / tau))).sum(axis=-1)
        return reduce(rows, "none" if self.over_batch == "none" else "mean")
