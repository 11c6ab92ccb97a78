"""ListMLE with mistakes in it: PLD's steps without a label and with weights 1.

The right loss (Xia et al. 2008) of one list with scores s and relevance t:

    pi = classes by descending t
    L  = sum_k (log sum_{l >= k} exp(s_{pi_l}) - s_{pi_k})        averaged over the lists
"""

from dataclasses import dataclass
from typing import ClassVar

from .cases import Case
from .formula import Changes
from .pld import MISTAKES, PLD

POSITION = tuple({"weights": x} for x in ("position", "position, unscaled"))
LEFT_OUT = (
    "label",
    "extra",
    "temperature",
    "student-temp",
    "uniform",
    "cross-entropy",
    "mean-over-cl",
)


@dataclass(frozen=True)
class ListMLE(PLD):
    """The steps of ListMLE; the scores stand for student logits, relevance for the teacher's."""

    name: ClassVar[str] = "list_mle"
    title: ClassVar[str] = "ListMLE"
    source: ClassVar[str] = "Xia et al. 2008"
    arguments: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits")
    terms: ClassVar[dict[str, str]] = {"factor": "ListMLE"}
    remarks: ClassVar[frozenset[str]] = frozenset({"position-weights"})
    mistakes: ClassVar[dict[str, tuple[Changes, ...]]] = {
        "position-weights": POSITION,
        "mean-over-list": ({"over_classes": "mean"},),
        **{
            k: v
            for k, v in MISTAKES.items()
            if not k.startswith(LEFT_OUT) and k != "position-weights"
        },
        "sum-over-classes": (),
    }

    label: str = "sorted"
    weights: str = "ones"

    def shares(self, case: Case) -> dict[str, float]:
        return {"list_mle": 1.0} if self.weights == "ones" else {}
