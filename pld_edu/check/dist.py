"""DIST with mistakes in it.

The right loss (Huang et al. 2022) of a batch, p = softmax(t / tau), q = softmax(s / tau) [N, C]:

    rho(x, z) = correlation of x and z
    inter     = 1 - mean_n rho(q[n, :], p[n, :])                 over the classes of a row
    intra     = 1 - mean_c rho(q[:, c], p[:, c])                 over the rows of a class
    L         = tau^2 (beta inter + gamma intra)

for any beta, gamma > 0, plus any b >= 0 times cross-entropy with the label.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .cases import Case, Floats
from .formula import Changes, Numbers
from .softened import SOFTENED, Softened

TINY = 1e-8  # of the authors' code: a constant row has correlation 0


@dataclass(frozen=True)
class DIST(Softened):
    """The steps of DIST."""

    name: ClassVar[str] = "dist"
    title: ClassVar[str] = "DIST"
    source: ClassVar[str] = "Huang et al. 2022, arXiv 2205.10536"
    needs_labels: ClassVar[bool] = False
    rows: ClassVar[int] = 3
    terms: ClassVar[dict[str, str]] = {"beta": "T^2 inter", "gamma": "T^2 intra", "ce": "CE"}
    answers: ClassVar[dict[str, str]] = {"beta": "inter", "gamma": "intra", "ce": "ce"}
    free: ClassVar[tuple[str, ...]] = ("beta", "gamma", "ce")
    solved: ClassVar[dict[str, tuple[str, tuple[Changes, ...]]]] = {
        name: way for name, way in Softened.solved.items() if name != "eps-in-log"
    }
    mistakes: ClassVar[dict[str, tuple[Changes, ...]]] = {
        **{k: v for k, v in SOFTENED.items() if k not in ("eps-in-log", "maximum-not-added-back")},
        "not-centred": ({"centred": False},),
        "no-softmax": ({"of": "logits"}, {"of": "log"}),
    }

    beta: float = 1.0
    gamma: float = 1.0
    centred: bool = True
    of: str = "probabilities"  # or "logits", "log"

    def part(self, term: str, case: Case, keys: Floats) -> Numbers:
        if term == "ce":
            return self.cross_entropy(case, self.softened(case, "student"))
        q, p = self.log_student(case), self.teacher(case)
        if self.of == "probabilities":
            q, p = np.exp(q), np.exp(p)
        elif self.of == "logits":
            q, p = self.softened(case, "student"), self.softened(case, "teacher")
        if term == "gamma":
            q, p = np.swapaxes(q, -1, -2), np.swapaxes(p, -1, -2)
        return self.reduce(1.0 - self._correlation(q, p), case)

    def _correlation(self, x: Numbers, z: Numbers) -> Numbers:
        if self.centred:
            x, z = x - x.mean(axis=-1, keepdims=True), z - z.mean(axis=-1, keepdims=True)
        norms = np.sqrt((x * x).sum(axis=-1)) * np.sqrt((z * z).sum(axis=-1))
        return (x * z).sum(axis=-1) / (norms + TINY)

    def details(self, case: Case) -> dict[str, Floats]:
        q, p = np.exp(self.log_student(case)), np.exp(self.teacher(case))
        inter, intra = self._correlation(q, p), self._correlation(q.T, p.T)
        return {"correlation of rows": inter, "correlation of classes": intra}
