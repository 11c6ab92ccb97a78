"""DKD with mistakes in it.

The right loss (Zhao et al. 2022) of one row, label y, p = softmax(t / tau), q = softmax(s / tau):

    TCKD = KL((p_y, 1 - p_y) || (q_y, 1 - q_y))                  the label against the rest
    NCKD = KL(p_c / (1 - p_y), c != y || q_c / (1 - q_y), c != y)   within the rest
    L    = tau^2 (alpha TCKD + beta NCKD)                        averaged over the rows

for any alpha, beta > 0, plus any b >= 0 times cross-entropy with the label.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .cases import Case, Floats
from .formula import Changes, Numbers, at_label, gather
from .softened import SOFTENED, Softened


@dataclass(frozen=True)
class DKD(Softened):
    """The steps of DKD."""

    name: ClassVar[str] = "dkd"
    title: ClassVar[str] = "DKD"
    source: ClassVar[str] = "Zhao et al. 2022, arXiv 2203.08679"
    terms: ClassVar[dict[str, str]] = {"alpha": "T^2 TCKD", "beta": "T^2 NCKD", "ce": "CE"}
    answers: ClassVar[dict[str, str]] = {"alpha": "tckd", "beta": "nckd", "ce": "ce"}
    free: ClassVar[tuple[str, ...]] = ("alpha", "beta", "ce")
    mistakes: ClassVar[dict[str, tuple[Changes, ...]]] = {
        **SOFTENED,
        "not-decoupled": ({"within": "weighted"}, {"within": "all"}),
        "reversed-kl": ({"reversed": True},),
        "probabilities-as-input": ({"probabilities": True},),
    }

    alpha: float = 1.0
    beta: float = 8.0
    within: str = "rest"  # or "weighted" by 1 - p_y, "all" classes
    reversed: bool = False
    probabilities: bool = False  # q where log q belongs

    def part(self, term: str, case: Case, keys: Floats) -> Numbers:
        if term == "ce":
            return self.cross_entropy(case, self.softened(case, "student"))
        log_p, log_q, y = self.teacher(case), self.log_student(case), case.labels
        rest_p, rest_q = without_label(log_p, y), without_label(log_q, y)
        all_p, all_q = log_sum(rest_p), log_sum(rest_q)  # log(1 - p_y), log(1 - q_y)
        if term == "alpha":
            two_p, two_q = ((at_label(x, y), r) for x, r in ((log_p, all_p), (log_q, all_q)))
            return self.reduce(self._kl(np.stack(two_p, -1), np.stack(two_q, -1)), case)
        if self.within == "all":
            return self.reduce(self._kl(log_p, log_q), case)
        rows = self._kl(rest_p - all_p[..., None], rest_q - all_q[..., None])
        return self.reduce(np.exp(all_p) * rows if self.within == "weighted" else rows, case)

    def _kl(self, log_p: Numbers, log_q: Numbers) -> Numbers:
        log_q = np.exp(log_q) if self.probabilities else log_q
        if self.reversed:
            log_p, log_q = log_q, log_p
        return (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def without_label(x: Numbers, y: Numbers) -> Numbers:
    """Entries [..., N, C-1] of all classes but the label."""
    index = np.arange(x.shape[-1] - 1)
    return gather(x, index + (index >= y[..., None]))


def log_sum(x: Numbers) -> Numbers:
    """``log sum_c exp(x_c)``."""
    largest = x.real.max(axis=-1, keepdims=True)
    return np.log(np.exp(x - largest).sum(axis=-1)) + largest[..., 0]
