"""PLD with mistakes in it: the loss step by step, with a switch at each step that can go wrong.

The right loss (arXiv 2506.12542) of one row with student logits s, teacher logits t and label y:

    pi      = (y, then the other classes by descending t)        the ranking
    alpha_k = softmax(t / tau)[pi_k]                             the weights
    R_k     = log sum_{l >= k} exp(s_{pi_l})                     the tails
    L       = sum_k alpha_k (R_k - s_{pi_k})                     averaged over the rows
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .cases import Case, Floats
from .formula import (
    COMMON,
    LOST,
    Changes,
    Formula,
    Numbers,
    gather,
    log_softmax,
    reduce,
    softmax,
    standardise,
)

EPS_PLACES = ("sum", "attached sum", "raw sum", "probability", "clamp")
PLAIN = (1.0, 1.0, 0.0), (1.0, 0.0, 1.0)  # coefficients of a term that is simply added
EPS = {
    "probability": "added to the probability",
    "clamp": "as a lower bound of the probability",
    "raw sum": "added to the sum of exponentials",
}

MISTAKES: dict[str, tuple[Changes, ...]] = {
    **COMMON,
    "sum-over-classes": ({"over_classes": "sum"},),
    "label-not-first": ({"label": "sorted"},),
    "tail-ascending": ({"direction": "ascending"},),
    "label-last": ({"label": "last"},),
    "label-twice": ({"label": "twice"},),
    "label-missing": ({"label": "absent"},),
    "label-misplaced": tuple({"label": x} for x in ("overwrites", "exchanged", "second", "pushes")),
    "order-by-student": ({"sort_by": "student"},),
    "not-sorted": ({"sort_by": "class"},),
    "inverse-permutation": ({"gather": "inverse"},),
    "prefix-sums": ({"tail": "earlier"},),
    "full-softmax": ({"tail": "all"},),
    "tail-excludes-self": ({"tail": "strictly later"},),
    "weights-not-permuted": ({"weights_order": "class"},),
    "weights-sorted": ({"weights_order": "sorted"},),
    "weights-reversed": ({"weights_order": "reversed"},),
    "weights-shifted": ({"weights_order": "next"}, {"weights_order": "previous"}),
    "uniform-weights": ({"weights": "uniform"}, {"weights": "ones"}),
    "teacher-weights": ({"weights": "teacher"},),
    "position-weights": ({"weights": "position"},),
    "renormalised-tail": ({"weights": "renormalised tail"},),
    "label-weight-one": ({"weights": "label one"},),
    "label-term-only": ({"weights": "label only"},),
    "cross-entropy-only": ({"weights": "one-hot"},),
    "truncated": tuple({"top": k, "cut": cut} for k in (2, 3) for cut in (False, True)),
    "student-weights": ({"weights": "student, detached"}, {"weights": "student"}),
    "weights-without-softmax": ({"weights": "logits"}, {"weights": "log"}),
    "weights-transformed": tuple(
        {"weights": x} for x in ("squared", "root", "sigmoid", "conditional")
    ),
    "softmax-over-batch": ({"weights": "over batch"},),
    "student-temperature": ({"student_temperature": True},),
    "temperature-ignored": ({"weight_temperature": "ignored"},),
    "temperature-inverted": ({"weight_temperature": "inverse"},),
    "temperature-squared": ({"tau_power": 2},),
    "temperature-factor": ({"tau_power": 1}, {"tau_power": -1}, {"tau_power": -2}),
    "extra-cross-entropy": (
        {"ce": 1.0, "ce_reduced": "multiplied"},
        {"ce": 1.0},
        {"ce": 1.0, "ce_reduced": "multiplied", "ce_softened": True},
    ),
    "extra-kd": ({"kd": 1.0},),
    "student-softmaxed": ({"student": "softmax"},),
    "standardised-logits": (
        {"student": "standardised"},
        {"weights": "standardised"},
        {"student": "standardised", "weights": "standardised"},
    ),
    "no-logarithm": ({"log": "no log"},),
    "maximum-not-added-back": LOST,
    "eps-in-log": tuple({"log": place, "eps": 1e-8} for place in EPS_PLACES),
}


@dataclass(frozen=True)
class PLD(Formula):
    """The steps of PLD in the order in which they are taken."""

    name: ClassVar[str] = "pld"
    title: ClassVar[str] = "PLD"
    source: ClassVar[str] = "arXiv 2506.12542"
    terms: ClassVar[dict[str, str]] = {"factor": "PLD", "ce": "cross-entropy", "kd": "KD's term"}
    mistakes: ClassVar[dict[str, tuple[Changes, ...]]] = MISTAKES
    blends: ClassVar[tuple[Changes, ...]] = (
        {"ce_reduced": "multiplied"},
        {},
        {"ce_reduced": "multiplied", "ce_softened": True},
    )
    solved: ClassVar[dict[str, tuple[str, tuple[Changes, ...]]]] = {
        "temperature-fixed": ("weight_temperature", ({},)),
        "truncated": ("top", ({}, {"cut": True})),
        "eps-in-log": ("eps", tuple({"log": place} for place in EPS_PLACES)),
        "clamp": ("clip", ({},)),
        "mask-not-infinite": ("eps", ({"log": "masked"},)),
        "padding-counted": ("padding", ({},)),
    }

    student: str = "logits"  # or "softmax", "standardised"
    student_temperature: bool = False
    sort_by: str = "teacher"  # or "student", "class"
    direction: str = "descending"
    label: str = "first"  # or another of `_ranking`
    gather: str = "ranking"  # or "inverse"
    weights: str = "teacher"  # or another of `_weights_by_class`, or "position"
    weight_temperature: str | float = "tau"  # or "ignored", "inverse", a fixed one
    weights_order: str = "ranking"  # or another of `_alpha`
    tail: str = "later"  # or "earlier", "all", "strictly later"
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

    def describe(self, name: str) -> str | None:
        match name:
            case "temperature-fixed":
                tau = self.weight_temperature
                return f"The weights have temperature {tau:.4g}, whatever was asked for."
            case "truncated":
                return f"Only the first {self.top} ranks count; the rest is dropped."
            case "eps-in-log":
                place = EPS.get(self.log, EPS["raw sum"] + " (after the largest is taken out)")
                return f"{self.eps:.2g} {place} inside the logarithm drowns unlikely choices."
            case "mask-not-infinite":
                return f"Masked classes have the logit {np.log(self.eps):.4g}, not -infinity."
            case "extra-cross-entropy" | "extra-kd" if self.coefficients not in PLAIN:
                what = {"factor": "the right loss", "ce": "cross-entropy", "kd": "KD's term"}
                used = [(getattr(self, t), x) for t, x in what.items() if getattr(self, t)]
                text = " plus ".join(f"{a:.4g} times {x}".removeprefix("1 times ") for a, x in used)
                return f"{text[0].upper()}{text[1:]}."
        return super().describe(name)

    def details(self, case: Case) -> dict[str, Floats]:
        pi = self._ranking(case, case.teacher_logits)
        alpha = self._alpha(case, case.student_logits, pi)
        steps = self._steps(gather(case.student_logits, pi))
        return {
            "class at rank": pi[0].astype(float),
            "weight": alpha[0],
            "choice loss": steps[0],
            "product": (alpha * steps)[0],
        }

    def part(self, term: str, case: Case, keys: Floats) -> Numbers:
        if term == "kd":
            return self._kd(case)
        x = self._student(case.student_logits, case.temperature)
        if term == "ce":
            return self.cross_entropy(case, x)
        pi = self._ranking(case, keys)
        terms = self._alpha(case, x, pi) * self._steps(gather(x, pi))
        rows = terms[..., : self.top].sum(-1)  # L = sum_k alpha_k (R_k - s_{pi_k})
        return self.reduce(rows, case, pi.shape[-1])

    def _student(self, s: Numbers, tau: float) -> Numbers:
        if self.student_temperature:
            s = s / tau
        if self.student == "softmax":
            return softmax(s)
        return standardise(s) if self.student == "standardised" else s

    def _ranking(self, case: Case, keys: Floats) -> NDArray[np.int64]:
        """Class pi_k at each rank [N, K]; K is not C if the label is there twice or not at all."""
        sort_by = {
            "teacher": keys,
            "student": case.student_logits.real.reshape(-1, *keys.shape)[0],
            "class": np.broadcast_to(-np.arange(keys.shape[-1]), keys.shape),
        }[self.sort_by]
        sign = 1.0 if self.direction == "descending" else -1.0
        order = np.argsort(-sign * sort_by, axis=-1, kind="stable")
        y = case.labels[..., None]
        others = order[order != y].reshape(*order.shape[:-1], -1)
        pieces = {
            "first": (y, others),
            "last": (others, y),
            "twice": (y, order),
            "absent": (others,),
            "sorted": (order,),
            "second": (others[..., :1], y, others[..., 1:]),
            "overwrites": (y, order[..., 1:]),  # order[:, 0] = y
            "pushes": (y, order[..., :-1]),  # label in front, cut to C
            "exchanged": (y, np.where(order == y, order[..., :1], order)[..., 1:]),
        }[self.label]
        pi = np.concatenate(pieces, axis=-1)
        if self.gather == "inverse":
            pi = np.argsort(pi, axis=-1)
        return pi[..., : self.top] if self.cut else pi

    def _alpha(self, case: Case, s: Numbers, pi: NDArray[np.int64]) -> Numbers:
        """Weight alpha_k of each rank [..., N, K]."""
        if self.weights.startswith("position"):  # 2^(C-k) - 1, or scaled to sum to 1
            k = np.arange(1.0, pi.shape[-1] + 1)
            alpha = 2.0**-k - 2.0 ** -float(s.shape[-1])
            return alpha * 2.0 ** s.shape[-1] if "unscaled" in self.weights else alpha / alpha.sum()
        q = self._weights_by_class(case, s)
        match self.weights_order:
            case "class":
                return q[..., : pi.shape[-1]]  # q_k
            case "sorted":
                return -np.sort(-gather(q, pi), axis=-1)
            case "reversed":
                return gather(q, pi)[..., ::-1]
            case "next":
                return np.roll(gather(q, pi), -1, axis=-1)
            case "previous":
                return np.roll(gather(q, pi), 1, axis=-1)
        alpha = gather(q, pi)  # alpha_k = q[pi_k]
        if self.weights == "conditional":
            return alpha / np.flip(np.flip(alpha, -1).cumsum(axis=-1), -1)
        return alpha

    def _weights_by_class(self, case: Case, s: Numbers) -> Numbers:
        """Weight of each class [..., N, C], q = softmax(t / tau) in PLD."""
        t, tau = case.teacher_logits, self.weight_temperature
        if isinstance(tau, str):
            tau = {"tau": case.temperature, "ignored": 1.0, "inverse": 1.0 / case.temperature}[tau]
        q = softmax(t / tau)
        label = np.arange(t.shape[-1]) == case.labels[..., None]
        rest = np.where(label, 0.0, q)
        weights: dict[str, Callable[[], Numbers]] = {
            "teacher": lambda: q,
            "conditional": lambda: q,
            "ones": lambda: np.ones_like(q),
            "uniform": lambda: np.full_like(q, 1.0 / q.shape[-1]),
            "renormalised tail": lambda: np.where(label, 1.0, rest / rest.sum(-1, keepdims=True)),
            "label one": lambda: np.where(label, 1.0, q),
            "label only": lambda: np.where(label, q, 0.0),
            "one-hot": lambda: label.astype(float),
            "student": lambda: softmax(s / tau),
            "student, detached": lambda: softmax(s.real / tau),
            "logits": lambda: t / tau,
            "log": lambda: log_softmax(t / tau),
            "squared": lambda: q**2,
            "root": lambda: np.sqrt(q),
            "sigmoid": lambda: 1.0 / (1.0 + np.exp(-t / tau)),
            "over batch": lambda: softmax(t / tau, axis=-2),
            "standardised": lambda: softmax(standardise(t) / tau),
        }
        return weights[self.weights]()

    def _steps(self, s: Numbers) -> Numbers:
        """Loss of each choice [..., N, K], ``R_k - s_k``, from student logits in rank order."""
        # Harmless without an eps; with one, it matters whether the largest logit is differentiated.
        largest = np.take_along_axis(s, s.real.argmax(axis=-1, keepdims=True), -1)
        raw = self.log in ("raw sum", "masked") or self.padding
        attached = self.log in ("attached sum", "maximum lost")
        shift = 0.0 * largest if raw else largest if attached else largest.real
        x = s - shift
        e = np.exp(x)
        total = np.flip(np.flip(e, -1).cumsum(axis=-1), -1)  # exp(R_k) = sum_{l >= k} exp(s_l)
        if self.tail == "earlier":
            total = e.cumsum(axis=-1)
        elif self.tail == "all":
            total = np.broadcast_to(e.sum(axis=-1, keepdims=True), e.shape)
        elif self.tail == "strictly later":
            total = np.concatenate([total[..., 1:], e[..., -1:]], axis=-1)
        total = total + self.padded(s.shape[-1])
        match self.log:
            case "probability":
                return -np.log(e / total + self.eps)  # p_k = exp(s_k - R_k)
            case "clamp":
                return -np.log(np.where((e / total).real < self.eps, self.eps, e / total))
            case "no log":
                return -e / total
            case "maximum lost" | "maximum lost, detached":
                return np.log(total) - s
            case "masked":  # the classes before rank k stand in its sum
                return np.log(total + self.eps * np.arange(s.shape[-1])) - x
        return np.log(total + self.eps) - x

    def _kd(self, case: Case) -> Numbers:
        """``tau^2 KL(softmax(t / tau) || softmax(s / tau))``, averaged as it should be."""
        tau = case.temperature
        log_q = log_softmax(case.teacher_logits / tau)
        rows = (np.exp(log_q) * (log_q - log_softmax(case.student_logits / tau))).sum(axis=-1)
        row_tau: Any = np.asarray(tau)[..., 0] if np.ndim(tau) else tau
        return reduce(row_tau**2 * rows, "none" if self.over_batch == "none" else "mean")
