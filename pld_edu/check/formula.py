"""What the formulas of all losses share: switches, blends with cross-entropy, gradients.

A loss of the family is a subclass of `Formula` in a file of its own; `family.LOSSES` lists them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .cases import Case, Floats

Numbers = NDArray[np.inexact]
Changes = dict[str, Any]
STEP = 1e-30

COMMON: dict[str, tuple[Changes, ...]] = {
    "sum-over-batch": ({"over_batch": "sum"},),
    "mean-over-batch": ({"over_batch": "mean"},),
    "divided-by-batch-twice": ({"over_batch": "twice"},),
    "mean-over-classes": ({"over_classes": "mean"},),
}


@dataclass(frozen=True)
class Formula:
    """A loss with a switch at each step that can go wrong; the default is the right loss.

    Its value is a sum of terms, each times a coefficient. Student logits may be complex, so that
    all gradients come from a complex step, ``Im L(s + i h) / h``: exact to rounding, without a
    derivation for each mistake.

    Attributes
    ----------
    name, title, source : str
        The option's value, the name in print, and the paper.
    terms : dict
        Coefficient (a field) to the term's name in print.
    mistakes : dict
        Name of each mistake (its words are in `mistakes`) to the changes that make it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    terms: ClassVar[Mapping[str, str]]
    mistakes: ClassVar[Mapping[str, tuple[Changes, ...]]]

    over_batch: str = "mean"  # or "sum", "twice", "none"
    over_classes: str = "sum"  # or "mean"
    tau_power: int = 0
    factor: float = 1.0
    ce: float = 0.0  # coefficient of cross-entropy
    ce_kind: str = "apart"  # or "alike": reduced with the rest; "softened": that of s / tau

    @property
    def possible(self) -> bool:
        """False for changes that cannot be made together."""
        return True

    def value(self, case: Case, s: Numbers | None = None, keys: Floats | None = None) -> Numbers:
        """Value on a case: [...], or [..., N] without reduction.

        `s` [..., N, C], real or complex, stands in for the student's logits; `keys` [N, C] are
        sorted instead of the teacher's logits, to break ties in another way.
        """
        s = case.student_logits if s is None else s
        keys = case.teacher_logits if keys is None else keys
        used = {term: a for term in self.terms if (a := getattr(self, term)) != 0.0}
        with np.errstate(all="ignore"):
            parts = [a * self.part(term, case, s, keys) for term, a in used.items()]
        return sum(parts, np.zeros(s.shape[:-1] if self.over_batch == "none" else s.shape[:-2]))

    def gradient(self, case: Case, keys: Floats | None = None) -> Floats:
        """Gradient [N, C] of the (summed, if not reduced) value in the student's logits."""
        n, c = case.student_logits.shape
        bumps = 1j * STEP * np.eye(n * c).reshape(n * c, n, c)
        value = self.value(case, case.student_logits + bumps, keys)
        total = value.sum(axis=-1) if self.over_batch == "none" else value
        return total.imag.reshape(n, c) / STEP  # dL/ds_i = Im L(s + i h e_i) / h

    def part(self, term: str, case: Case, s: Numbers, keys: Floats) -> Numbers:
        """One term of the loss, without its coefficient."""
        raise NotImplementedError

    def shares(self, case: Case) -> dict[str, float]:
        """How much of each published answer of a case the right loss holds."""
        raise NotImplementedError

    def cross_entropy(self, case: Case, s: Numbers, softened: Numbers) -> Numbers:
        """``log sum_c exp(s_c) - s_y``, averaged as it should be or reduced like the rest."""
        log_p = log_softmax(softened if self.ce_kind == "softened" else s)
        rows = -log_p[..., np.arange(len(case.labels)), case.labels]
        if self.ce_kind == "apart":
            return reduce(rows, "none" if self.over_batch == "none" else "mean")
        return self.reduce(rows, case)

    def reduce(self, rows: Numbers, case: Case, classes: int | None = None) -> Numbers:
        """Rows [..., N] to the value of a term."""
        if self.over_classes == "mean":
            rows = rows / (classes or case.student_logits.shape[-1])
        return reduce(rows * case.temperature**self.tau_power, self.over_batch)


def reduce(rows: Numbers, how: str) -> Numbers:
    """Mean over the last axis, or another of `Formula.over_batch`."""
    if how == "none":
        return rows
    total: Numbers = rows.sum(axis=-1)
    return total if how == "sum" else total / rows.shape[-1] ** (2 if how == "twice" else 1)


def log_softmax(x: Numbers) -> Numbers:
    """``x_c - log sum_l exp(x_l)``, for complex numbers too."""
    x = x - x.real.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def gather(x: Numbers, pi: NDArray[np.int64]) -> Numbers:
    """Classes [..., N, C] in rank order [..., N, K]: x[pi_k]."""
    return np.take_along_axis(x, np.broadcast_to(pi, (*x.shape[:-1], pi.shape[-1])), -1)


def standardise(x: Numbers) -> Numbers:
    """Mean 0 and std 1 over the classes."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True))
