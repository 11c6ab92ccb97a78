"""Inputs with known answers, shared by the tests of `pld_edu.reference` and `pld_edu.losses`."""

from functools import cache
from math import inf
from typing import NamedTuple

import numpy as np

from tests.support import exact

CLASSES = (2, 10, 100, 1000)
SCALES = (1.0, 10.0, 100.0, 1e3, 1e4)
STUDENTS = ("agrees", "differs", "reversed")
WEIGHTS = ("teacher", "label", "one-hot", "uniform", "position")
LEADS = ((), (4,), (2, 3))


class Case(NamedTuple):
    """One row, its loss in formulas.md's digits, and what is known of its gradient."""

    name: str
    s: list[float]
    t: list[float]
    y: int
    loss: float
    gradient: dict[int, float] = {}  # noqa: RUF012
    temperature: float = 1.0


BASE_GRADIENT = {0: 0.214801, 1: -0.201708, 2: -0.0130933}
CARD = (
    Case("base", [1, 2, 3], [0.5, 2, -1], 2, 0.2620399709, BASE_GRADIENT),
    Case("shifted", [10001, 10002, 10003], [0.5, 2, -1], 2, 0.2620399709, BASE_GRADIENT),
    Case("spread", [1e4, 0, -1e4, 3], [2, 1, 0, -1], 1, 3240.532801, {0: 0.236883}),
    Case(
        "tiny-tails",
        [0, -30, -60, -90, -110, -120],
        [5, 4, 3, 2, 1, 0],
        0,
        5.26985694e-7,
        {1: 3.7e-14},
    ),
    Case(
        "masked-in-both",
        [1, -inf, 3],
        [0.5, -inf, -1],
        2,
        0.0231549,
        {0: 0.021746, 1: 0.0, 2: -0.021746},
    ),
    Case("ties", [0, 5, -5, 1], [1, 1, 1, 0], 3, 1.92627),
    Case("A", [0.3, -1.2, 2, 0.7], [0.5, 2, -1, 1], 3, 2.30959, temperature=2.0),
    Case("Cs", [0, -40, -80, -81], [4, 3, 2, 1], 0, 0.027299),
    Case("D", [1, 2], [0, 1], 0, 0.35319),
    Case(
        "wrong-teacher",
        [1, 2, 3],
        [20, 0, -20],
        2,
        (1 / (1 + np.exp(-20))) * np.log1p(np.e) + 0.0,
        {0: -0.731, 1: 0.731},
    ),
)
# The batch of case B, whose mean is 1.79443.
CASE_B = ([[0.3, -1.2, 2, 0.7], [1, 0, -2, 0.5]], [[0.5, 2, -1, 1], [3, 0, 1, 2]], [1, 0])
# The logits of formulas.md's KD, DIST and DKD values.
ZS, ZT, ZY = [[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]], [[2.0, 0.0, 1.0], [3.0, 0.0, 0.0]], [2, 0]


class Rows(NamedTuple):
    s: np.ndarray
    t: np.ndarray
    y: np.ndarray


def rows(
    classes: int, scale: float, student: str, dtype: str = "float64", count: int | None = None
) -> Rows:
    """Random rows: the teacher at scale 3, the student at `scale`, for, beside or against it."""
    seed = [classes, int(scale), STUDENTS.index(student)]
    rng = np.random.default_rng(seed)
    shape = (count or (3 if classes < 1000 else 1), classes)
    t = rng.normal(scale=3.0, size=shape).astype(dtype)
    y = rng.integers(classes, size=shape[0])
    if student == "agrees":
        y = t.argmax(axis=-1)
    direction = {"agrees": t / 3, "reversed": -t / 3, "differs": rng.normal(size=shape)}[student]
    return Rows((scale * direction).astype(dtype), t, y)


@cache
def truths(classes: int, scale: float, student: str, dtype: str = "float64") -> list[exact.Truth]:
    """Exact loss and gradient of each row of `rows`."""
    s, t, y = rows(classes, scale, student, dtype)
    return [
        exact.pld(*row, temperature=2.0)
        for row in zip(s.tolist(), t.tolist(), y.tolist(), strict=True)
    ]


def batch(lead: tuple[int, ...], classes: int = 5, scale: float = 2.0, seed: int = 0) -> Rows:
    """Random logits [*lead, C] and labels [*lead]."""
    rng = np.random.default_rng([seed, classes, *lead])
    s, t = rng.normal(scale=scale, size=(2, *lead, classes))
    return Rows(s, t, np.asarray(rng.integers(classes, size=lead)))


def singles(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> list[tuple[list, list, int]]:
    """The rows of any leading shape, as plain lists."""
    classes = s.shape[-1]
    pairs = zip(s.reshape(-1, classes), t.reshape(-1, classes), y.reshape(-1), strict=True)
    return [(a.tolist(), b.tolist(), int(label)) for a, b, label in pairs]
