"""The cases for PLD: those of the vector file, random ones beside them, and one with a NaN."""

import json
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import reference

VECTORS = Path(__file__).with_name("vectors_v1.json")
RANDOM_SHAPES = ((1, 4), (2, 4), (3, 5), (4, 6), (2, 10), (5, 30))

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Answer:
    """Right numbers of one loss, or of one term of it."""

    loss_per_row: Floats
    loss: float
    gradient: Floats  # of the mean, [N, C]


@dataclass(frozen=True, repr=False)
class Case(Answer):
    """One input with its right answers; `loss_per_row`, `loss` and `gradient` are its loss's.

    Attributes
    ----------
    student_logits, teacher_logits, labels : array [N, C], array [N, C], int array [N]
    temperature : float
    loss_per_row, loss : array [N], float
        The second is the mean of the first.
    gradient : array [N, C]
        Of the mean, with respect to the student's logits.
    answers : dict
        The same three by loss or term: "pld", and "uniform" for weights 1/C.
    tolerance : dict
        ``tolerance["float32"]["absolute"]`` and ``["relative"]``; also "float64".
    """

    id: str
    comment: str
    flags: tuple[str, ...]
    student_logits: Floats
    teacher_logits: Floats
    labels: NDArray[np.int64]
    temperature: float
    answers: dict[str, Answer] = field(hash=False)
    tolerance: dict[str, dict[str, float]] = field(hash=False)

    def __repr__(self) -> str:
        return f"Case({self.id!r})"

    @property
    def size(self) -> int:
        """Number of logits."""
        return int(self.student_logits.size)

    @property
    def scale(self) -> float:
        """Largest student logit in absolute value."""
        return float(np.abs(self.student_logits).max())


@cache
def cases(loss: str = "pld") -> tuple[Case, ...]:
    """All cases of a loss's vector file, for instance to parametrise a test over them."""
    data = json.loads(_file(loss).read_text(encoding="utf-8"))
    return tuple(_from_json(loss, entry) for entry in data["cases"])


def random_cases(rng: np.random.Generator) -> tuple[Case, ...]:
    """Cases that nobody can have memorised; truth from `pld_edu.reference`."""
    return tuple(_random_case(i, *shape, rng) for i, shape in enumerate(RANDOM_SHAPES, start=1))


def nan_case() -> Case:
    """A NaN among the student's logits; the only right answers are NaN and an error."""
    nan = Answer(np.array([np.nan]), np.nan, np.full((1, 3), np.nan))
    return replace(
        cases()[0],
        **vars(nan),
        answers=dict.fromkeys(cases()[0].answers, nan),
        id="nan-in-student",
        comment="One student logit is NaN: the loss must be NaN, or an error, not a number.",
        flags=("nan",),
        student_logits=np.array([[1.0, np.nan, 3.0]]),
    )


def _file(loss: str) -> Path:
    return VECTORS if loss == "pld" else VECTORS.with_name(f"vectors_{loss}_v1.json")


def _from_json(loss: str, entry: dict[str, Any]) -> Case:
    own = _answer(entry)
    terms = {"uniform": entry["uniform"]} if "uniform" in entry else entry.get("terms", {})
    t = np.array(entry["teacher_logits"])
    return Case(
        **vars(own),
        answers={loss: own} | {name: _answer(numbers) for name, numbers in terms.items()},
        student_logits=np.array(entry["student_logits"]),
        teacher_logits=t,
        labels=np.array(entry.get("labels", t.argmax(axis=-1))),
        temperature=entry.get("temperature", 1.0),
        flags=tuple(entry["flags"]),
        **{key: entry[key] for key in ("id", "comment", "tolerance")},
    )


def _answer(numbers: dict[str, Any]) -> Answer:
    rows = numbers.get("loss_per_row", [])
    return Answer(np.array(rows), numbers["loss"], np.array(numbers["gradient"]))


def _random_case(number: int, rows: int, classes: int, rng: np.random.Generator) -> Case:
    s = rng.integers(-256, 257, (rows, classes)) / 64.0
    # A permutation of distinct values: a random tie would look like a mistake.
    steps = np.sort(rng.integers(1, 65, (rows, classes)).cumsum(axis=-1), axis=-1) / 64.0
    t = rng.permuted(steps - steps.mean(axis=-1, keepdims=True).round(), axis=-1)
    y = rng.integers(0, classes, rows)

    def answer(weights: str) -> Answer:
        per_row = np.asarray(reference.pld_loss(s, t, y, weights=weights, reduction="none"))
        return Answer(per_row, per_row.mean(), reference.pld_gradient(s, t, y, weights=weights))

    pld = answer("teacher")
    return replace(
        cases()[0],
        **vars(pld),
        answers={"pld": pld, "uniform": answer("uniform")},
        id=f"random-{number}",
        comment="Random; not in the file.",
        flags=("plain", "random", *(("batch",) if rows > 1 else ())),
        student_logits=s,
        teacher_logits=t,
        labels=y,
    )
