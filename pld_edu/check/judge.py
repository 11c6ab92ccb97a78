"""Right or wrong, case by case, and which expected failures did happen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, permutations, product

import numpy as np

from .cases import Case, Floats
from .recipes import Formula, Recipe
from .runner import Outcome

MAX_TIE_ORDERS = 64
BAD = ("wrong", "raises", "hangs", "crashes")


@dataclass(frozen=True)
class Question:
    """What is asked for: weights and reduction, and ListMLE's scale (1/C or 1 a choice)."""

    weights: str = "teacher"
    reduction: str = "mean"
    summed_over_classes: bool = False

    @property
    def formula(self) -> Formula:
        """The right one."""
        return Formula.of(self.recipe)

    @property
    def recipe(self) -> Recipe:
        """The right recipe."""
        weights = self.weights
        if weights == "uniform" and self.summed_over_classes:
            weights = "ones"
        return Recipe(weights=weights, over_batch=self.reduction)

    def loss(self, case: Case) -> Floats:
        """Right value: [], or [N] without reduction."""
        answer = case.uniform if self.weights == "uniform" else case
        scale = self._scale(case)
        if self.reduction == "none":
            return answer.loss_per_row * scale
        return np.asarray(answer.loss * scale * (self._rows(case)))

    def gradient(self, case: Case) -> Floats:
        """Right gradient [N, C]; without reduction each row's own."""
        answer = case.uniform if self.weights == "uniform" else case
        rows = len(case.labels) if self.reduction != "mean" else 1
        return answer.gradient * self._scale(case) * rows

    def tolerance(self, case: Case, expected: Floats, size: float = 1.0) -> Floats:
        """Allowed error of each number: that of float32 arithmetic on numbers of this size."""
        kind = case.tolerance["float32"]
        scale = size * self._scale(case) * self._rows(case)
        return kind["absolute"] * scale + kind["relative"] * np.abs(expected)

    def _scale(self, case: Case) -> float:
        return case.student_logits.shape[-1] if self.summed_over_classes else 1.0

    def _rows(self, case: Case) -> int:
        return len(case.labels) if self.reduction == "sum" else 1


@dataclass(frozen=True)
class Judged:
    """A case, what was asked, what came, and the verdict on it.

    `verdict` is "right", "wrong", "raises", "hangs", "crashes", "skipped", "convention" (right by
    another rule for ties) or "weak" (wrong beyond student logits of 100). `excused` holds the
    reason if the failure was expected.
    """

    case: Case
    question: Question
    outcome: Outcome
    excused: str | None = None

    @cached_property
    def expected(self) -> Floats:
        return self.question.loss(self.case)

    @cached_property
    def expected_gradient(self) -> Floats:
        return self.question.gradient(self.case)

    @property
    def got(self) -> Floats:
        """The value; one number where one is asked for, whatever axes of length 1 it has."""
        assert self.outcome.loss is not None
        value = self.outcome.loss
        return value.reshape(self.expected.shape) if self.shape_right else value

    @property
    def shape_right(self) -> bool:
        """Whether the value has as many numbers as it should."""
        return self.outcome.loss is not None and self.outcome.loss.size == self.expected.size

    @cached_property
    def value_right(self) -> bool:
        return self.shape_right and self.close(self.got, self.expected)

    @cached_property
    def gradient_right(self) -> bool:
        """True too where there is no gradient to judge."""
        if self.outcome.gradient_error is not None:
            return False
        slope = self.outcome.gradient
        if slope is None:
            return True
        wanted = self.expected_gradient
        return slope.shape == wanted.shape and self.close(slope, wanted)

    @cached_property
    def finite(self) -> bool:
        """Whether the call gave nothing but ordinary numbers, as many as it should."""
        return self.outcome.state == "ok" and self.shape_right and bool(np.isfinite(self.got).all())

    @cached_property
    def verdict(self) -> str:
        if self.outcome.state == "skipped":
            return "skipped"
        if "nan" in self.case.flags:
            hidden = self.outcome.state == "ok" and self.finite
            return "wrong" if hidden else "right"
        if self.outcome.state == "ok" and self.value_right and self.gradient_right:
            return "right"
        if "extreme" in self.case.flags and self.outcome.state in ("ok", "raises"):
            return "weak"
        if self.outcome.state != "ok":
            return self.outcome.state
        if "ties" in self.case.flags and self.reproduced_by(self.question.formula):
            return "convention"
        return "wrong"

    @property
    def bad(self) -> bool:
        """Whether this case speaks against the loss."""
        return self.verdict in BAD and self.excused is None

    def close(self, got: Floats, wanted: Floats, slack: float = 1.0, size: float = 1.0) -> bool:
        """Equal up to `slack` times the tolerance of this case."""
        with np.errstate(invalid="ignore", over="ignore"):
            allowed = slack * self.question.tolerance(self.case, wanted, size)
            return bool((np.abs(got - wanted) <= allowed).all())

    def reproduced_by(
        self, formula: Formula, *, slack: float = 1.0, gradients: bool = True
    ) -> bool:
        """Whether `formula`, with some order of tied classes, gives these numbers."""
        if not self.finite:
            return False
        slope = self.outcome.gradient if gradients else None
        for keys in tie_orders(self.case):
            if not self._explained(self.got, formula.loss(self.case, keys), slack):
                continue
            if slope is None:
                return True
            wanted = formula.gradient(self.case, keys)
            if self._explained(slope, wanted, slack):
                return True
        return False

    def _explained(self, got: Floats, wanted: Floats, slack: float) -> bool:
        """Like `close`; but what is wrong may be larger than what is right, and so its rounding."""
        if got.shape != wanted.shape:
            return False
        size = float(np.abs(wanted).max(initial=1.0))
        return np.isfinite(size) and self.close(got, wanted, slack, size)


def tie_orders(case: Case) -> list[Floats | None]:
    """Sorting keys that break ties of the teacher in every way; [None] without ties."""
    if "ties" not in case.flags:
        return [None]
    groups = []
    for n, row in enumerate(case.teacher_logits):
        for value in np.unique(row):
            (members,) = np.nonzero(row == value)
            if len(members) > 1:
                groups.append([(n, order) for order in permutations(members)])
    out: list[Floats | None] = []
    for choice in islice(product(*groups), MAX_TIE_ORDERS):
        keys = case.teacher_logits.copy()
        for n, order in choice:
            keys[n, list(order)] -= 1e-6 * np.arange(len(order))
        out.append(keys)
    return out


def judge(
    cases: Sequence[Case],
    outcomes: Mapping[str, Outcome],
    question: Question,
    expected_failures: Mapping[str, str],
) -> list[Judged]:
    """Every case that has an outcome, judged."""
    judged = [
        Judged(case, question, outcomes[case.id], _excuse(case, expected_failures))
        for case in cases
        if case.id in outcomes
    ]
    if question.weights == "uniform" and _fits_sum_over_classes(judged):
        question = replace(question, summed_over_classes=True)
        judged = [replace(j, question=question) for j in judged]
    return judged


def _excuse(case: Case, expected_failures: Mapping[str, str]) -> str | None:
    return next(
        (expected_failures[key] for key in (case.id, *case.flags) if key in expected_failures), None
    )


def _fits_sum_over_classes(judged: Sequence[Judged]) -> bool:
    """Whether a ListMLE is better described by weights 1 than by weights 1/C."""

    def right(summed: bool) -> int:
        asked = (
            replace(j, question=replace(j.question, summed_over_classes=summed)) for j in plain
        )
        return sum(j.value_right for j in asked)

    plain = [j for j in judged if "plain" in j.case.flags]
    return right(True) >= right(False)
