"""KD with mistakes in it.

The right loss (Hinton et al. 2015) of one row, p = softmax(t / tau), q = softmax(s / tau):

    L = tau^2 KL(p || q) = tau^2 sum_c p_c (log p_c - log q_c)    averaged over the rows

and any a > 0 times that plus any b >= 0 times cross-entropy with the label.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .cases import Case, Floats
from .formula import Changes, Numbers
from .softened import SOFTENED, Softened


@dataclass(frozen=True)
class KD(Softened):
    """The steps of KD."""

    name: ClassVar[str] = "kd"
    title: ClassVar[str] = "KD"
    source: ClassVar[str] = "Hinton et al. 2015, arXiv 1503.02531"
    needs_labels: ClassVar[bool] = False
    terms: ClassVar[dict[str, str]] = {"factor": "T^2 KL", "ce": "CE"}
    remarks: ClassVar[frozenset[str]] = frozenset({"soft-cross-entropy"})
    mistakes: ClassVar[dict[str, tuple[Changes, ...]]] = {
        "soft-cross-entropy": ({"divergence": "cross-entropy"},),
        **SOFTENED,
        "reversed-kl": ({"reversed": True},),
        "forward-kl": ({"reversed": False},),
        "probabilities-as-input": ({"input": "probabilities"},),
        "no-softmax": ({"input": "logits"},),
        "log-target-misused": ({"divergence": "exp of target"},),
        "mse-on-probabilities": (
            {"divergence": "mse"},
            {"divergence": "mse", "over_classes": "mean"},
        ),
        "mse-on-logits": (
            {"divergence": "mse of logits"},
            {"divergence": "mse of logits", "over_classes": "mean"},
        ),
        "student-unused": ({"divergence": "teacher twice"},),
    }

    reversed: bool = False  # KL(q || p)
    divergence: str = "kl"  # or another of `rows`
    input: str = "log-probabilities"  # what stands for log q: or "probabilities", "logits"

    def describe(self, name: str) -> str | None:
        if name == "no-softmax":
            return "The student's logits stand where its log-probabilities belong."
        return super().describe(name)

    def part(self, term: str, case: Case, keys: Floats) -> Numbers:
        if term == "ce":
            return self.cross_entropy(case, self.softened(case, "student"))
        return self.reduce(self.rows_of(case), case)

    def rows_of(self, case: Case) -> Numbers:
        """Divergence of each row [..., N]."""
        log_p = self.teacher(case)
        log_q = {
            "log-probabilities": lambda: self.log_student(case),
            "probabilities": lambda: np.exp(self.log_student(case)),
            "logits": lambda: self.softened(case, "student"),
        }[self.input]()
        if self.reversed:
            log_p, log_q = log_q, log_p
        p = np.exp(log_p)
        match self.divergence:
            case "cross-entropy":
                return -(p * log_q).sum(axis=-1)
            case "mse":
                return ((p - np.exp(log_q)) ** 2).sum(axis=-1)
            case "mse of logits":
                x, z = (self.softened(case, of) for of in ("student", "teacher"))
                return ((x - z) ** 2).sum(axis=-1)
            case "exp of target":  # kl_div(log q, p, log_target=True)
                return (np.exp(p) * (p - log_q)).sum(axis=-1)
            case "teacher twice":  # the teacher's cross-entropy with itself
                return -(p * log_p).sum(axis=-1)
        return (p * (log_p - log_q)).sum(axis=-1)
