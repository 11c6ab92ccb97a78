"""What KD, DKD and DIST share: the student's softened distribution beside the teacher's.

p = softmax(t / tau),  q = softmax(s / tau)
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .cases import Case, Floats
from .formula import COMMON, LOST, Changes, Formula, Numbers, log_softmax, softmax, standardise

EPS = {
    "student": "added to the student's probability",
    "both": "added to both probabilities",
    "clamp": "as a lower bound of the student's probability",
}

# In order: the likeliest first, and of two that give the same numbers the plainer one.
SOFTENED: dict[str, tuple[Changes, ...]] = {
    "temperature-squared-missing": ({"tau_power": 0},),
    **COMMON,
    "student-temperature-only": ({"teacher_tau": "one"},),
    "teacher-temperature-only": ({"student_tau": "one"},),
    "temperature-ignored": ({"temperature": 1.0}, {"student_tau": "one", "teacher_tau": "one"}),
    "temperature-inverted": ({"student_tau": "inverse", "teacher_tau": "inverse"},),
    "temperature-factor": tuple({"tau_power": k} for k in (1, 3, 4, -1, -2)),
    "temperature-squared": ({"ce_reduced": "multiplied"},),
    "softened-cross-entropy": ({"ce_softened": True},),
    "teacher-argmax-for-label": ({"label_from": "teacher"},),
    "student-softmaxed": ({"student": "softmax"},),
    "softmax-over-batch": ({"axis": -2},),
    "standardised-logits": ({"standardised": True},),
    "maximum-not-added-back": LOST,
    "eps-in-log": tuple({"log": place, "eps": 1e-8} for place in EPS),
}


@dataclass(frozen=True)
class Softened(Formula):
    """Switches on the way from logits to log p and log q."""

    free: ClassVar[tuple[str, ...]] = ("factor", "ce")
    solved: ClassVar[dict[str, tuple[str, tuple[Changes, ...]]]] = {
        "temperature-fixed": ("temperature", ({},)),
        "eps-in-log": ("eps", tuple({"log": place} for place in EPS)),
        "clamp": ("clip", ({},)),
        "padding-counted": ("padding", ({},)),
    }

    tau_power: int = 2
    student_tau: str = "tau"  # or "one", "inverse"
    teacher_tau: str = "tau"
    student: str = "logits"  # or "softmax"
    standardised: bool = False
    axis: int = -1  # or -2, the batch

    def shares(self, case: Case) -> dict[str, float]:
        default = type(self)(over_batch=self.over_batch)
        coefficients = dict(zip(self.terms, self.coefficients, strict=True))
        published = {**vars(self), **dict.fromkeys(self.terms, 0.0)}
        if published != {**vars(default), **dict.fromkeys(self.terms, 0.0)}:
            return {}
        return {self.answers[term]: a for term, a in coefficients.items()}

    answers: ClassVar[dict[str, str]] = {"factor": "kd", "ce": "ce"}

    def describe(self, name: str) -> str | None:
        match name:
            case "eps-in-log":
                return (
                    f"{self.eps:.2g} {EPS[self.log]} inside the logarithm drowns unlikely classes."
                )
            case "temperature-squared":
                return "Cross-entropy too is multiplied by the temperature squared."
        return super().describe(name)

    def details(self, case: Case) -> dict[str, Floats]:
        log_p, log_q = self.teacher(case), self.log_student(case)
        p = np.exp(log_p)
        rows = {"p": p, "q": np.exp(log_q), "log p - log q": log_p - log_q}
        return {name: x[0] for name, x in {**rows, "product": p * (log_p - log_q)}.items()}

    def softened(self, case: Case, of: str) -> Numbers:
        """``s / tau`` or ``t / tau``."""
        x = case.student_logits if of == "student" else case.teacher_logits
        if of == "student" and self.student == "softmax":
            x = softmax(x)
        x = standardise(x) if self.standardised else x
        tau = self.student_tau if of == "student" else self.teacher_tau
        match tau:
            case "one":
                return x
            case "inverse":
                return x * case.temperature
        return x / case.temperature

    def teacher(self, case: Case) -> Numbers:
        """``log p = log softmax(t / tau)``."""
        log_p = log_softmax(self.softened(case, "teacher"), self.axis)
        return np.log(np.exp(log_p) + self.eps) if self.log == "both" else log_p

    def log_student(self, case: Case) -> Numbers:
        """``log q = log softmax(s / tau)``."""
        x = self.softened(case, "student")
        if self.log.startswith("maximum lost"):
            largest = np.take_along_axis(x, x.real.argmax(axis=-1, keepdims=True), -1)
            return log_softmax(x) - (largest if self.log == "maximum lost" else largest.real)
        log_q = log_softmax(x, self.axis, self.padded(x.shape[-1]))
        match self.log:
            case "student" | "both":
                return np.log(np.exp(log_q) + self.eps)
            case "clamp":
                floor = np.log(self.eps)
                return np.where(log_q.real < floor, floor, log_q)
        return log_q
