"""What is asked of the loss, and whether the numbers that came for each case are right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np

from .adapters import Result
from .cases import Answer, Case, Floats
from .engine import same
from .variants import LossVariant, gradient, loss

BAD = ("wrong", "raises", "hangs", "crashes")


@dataclass(frozen=True)
class Task:
    """What the loss should compute.

    `weights` is "teacher" for PLD or "uniform" for a ListMLE, whose weights may be 1/C or 1
    (`summed_over_classes`); `reduction` is "mean", "sum" or "none".
    """

    weights: str = "teacher"
    reduction: str = "mean"
    summed_over_classes: bool = False

    @property
    def variant(self) -> LossVariant:
        """The right loss."""
        weights = "ones" if self.summed_over_classes else self.weights
        return LossVariant(weights=weights, over_batch=self.reduction)

    def loss(self, case: Case) -> Floats:
        """Right value: [], or [N] without reduction."""
        answer = self._answer(case)
        value = answer.loss_per_row if self.reduction == "none" else answer.loss
        return np.asarray(value * self._scale(case))

    def gradient(self, case: Case) -> Floats:
        """Right gradient [N, C]; without reduction each row's own."""
        rows = len(case.labels) if self.reduction == "none" else 1
        return self._answer(case).gradient * self._scale(case) * rows

    def tolerance(self, case: Case) -> tuple[float, float]:
        """Relative and absolute error that float32 arithmetic may make."""
        allowed = case.tolerance["float32"]
        return allowed["relative"], allowed["absolute"] * self._scale(case)

    def _answer(self, case: Case) -> Answer:
        return case.uniform if self.weights == "uniform" else case

    def _scale(self, case: Case) -> int:
        """Weights of 1 make the numbers C times as large as 1/C, a sum N times as large."""
        rows, classes = case.student_logits.shape
        return (classes if self.summed_over_classes else 1) * (
            rows if self.reduction == "sum" else 1
        )


@dataclass(frozen=True, eq=False, repr=False)
class CheckedCase:
    """A case, what was asked, what came, and the reason if a failure was expected."""

    case: Case
    task: Task
    result: Result
    failure_expected: str | None = None

    def __repr__(self) -> str:
        return f"CheckedCase({self.id!r}, {self.outcome!r})"

    @property
    def id(self) -> str:
        return self.case.id

    @property
    def flags(self) -> tuple[str, ...]:
        return self.case.flags

    @cached_property
    def expected(self) -> Floats:
        """Right value, [] or [N]."""
        return self.task.loss(self.case)

    @cached_property
    def expected_gradient(self) -> Floats:
        """Right gradient [N, C]."""
        return self.task.gradient(self.case)

    @property
    def got(self) -> Any:
        """The value, one number where one is asked for whatever axes of length 1 it has; or None.

        Whatever came if it has another number of entries than it should.
        """
        value = self.result.loss
        return (
            value.reshape(self.expected.shape) if value is not None and self.shape_right else value
        )

    @property
    def got_gradient(self) -> Floats | None:
        """The gradient that came, if any."""
        return self.result.gradient

    @property
    def shape_right(self) -> bool:
        """Whether the value has as many numbers as it should."""
        return self.result.loss is not None and self.result.loss.size == self.expected.size

    @cached_property
    def loss_right(self) -> bool:
        """Whether the value is right within the tolerance."""
        return self.shape_right and self._agree(self.got, self.expected)

    @cached_property
    def finite(self) -> bool:
        """Whether the call gave nothing but ordinary numbers, as many as it should."""
        return self.result.state == "ok" and self.shape_right and bool(np.isfinite(self.got).all())

    @cached_property
    def outcome(self) -> str:
        """What to say of it.

        "right", "wrong", "raises", "hangs", "crashes", "skipped", "convention" (right by another
        rule for ties), "weak" (wrong beyond student logits of 100) or "expected failure: reason".
        """
        outcome = self._outcome()
        expected = self.failure_expected and outcome in BAD
        return f"expected failure: {self.failure_expected}" if expected else outcome

    @property
    def bad(self) -> bool:
        """Whether this case shows a fault."""
        return self.outcome in BAD

    def reproduced_by(
        self, variant: LossVariant, *, slack: float = 1.0, gradients: bool = True
    ) -> bool:
        """Whether the variant, with some order of tied classes, gives these numbers."""
        if not self.finite or (gradients and self.result.gradient_error):
            return False
        slope = self.got_gradient if gradients else None
        return any(
            self._reproduced(self.got, loss(variant, self.case, keys).real, slack)
            and (
                slope is None or self._reproduced(slope, gradient(variant, self.case, keys), slack)
            )
            for keys in tie_orders(self.case)
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and lists."""
        inputs = ("student_logits", "teacher_logits", "labels", "temperature")
        numbers = ("expected", "got", "expected_gradient", "got_gradient")
        return {
            "id": self.id,
            "flags": self.flags,
            **{name: _as_list(getattr(self, name)) for name in numbers},
            "loss_right": self.loss_right,
            "outcome": self.outcome,
            "message": self.result.message,
            "inputs": {name: _as_list(getattr(self.case, name)) for name in inputs},
        }

    def _outcome(self) -> str:
        state = self.result.state
        if state == "skipped":
            return "skipped"
        if "nan" in self.flags:
            return "wrong" if self.finite else "right"
        if state == "ok" and self.loss_right and self._gradient_right():
            return "right"
        if "extreme" in self.flags and state in ("ok", "raises"):
            return "weak"
        if state != "ok":
            return state
        if "ties" in self.flags and self.reproduced_by(self.task.variant):
            return "convention"
        return "wrong"

    def _gradient_right(self) -> bool:
        """True too where there is no gradient to check."""
        if self.result.gradient_error is not None:
            return False
        return self.got_gradient is None or self._agree(self.got_gradient, self.expected_gradient)

    def _agree(self, got: Floats, wanted: Floats, slack: float = 1.0, size: float = 1.0) -> bool:
        """Whether numbers of a size are equal up to `slack` times the tolerance of this case."""
        relative, absolute = self.task.tolerance(self.case)
        return same(got, wanted, slack * relative, slack * size * absolute)

    def _reproduced(self, got: Floats, wanted: Floats, slack: float) -> bool:
        """`_agree`, for numbers that may be larger than the right ones, and so their rounding."""
        size = float(np.abs(wanted).max(initial=1.0))
        return np.isfinite(size) and self._agree(got, wanted, slack, size)


def compare(
    cases: Sequence[Case],
    results: Mapping[str, Result],
    task: Task,
    expected_failures: Mapping[str, str],
) -> list[CheckedCase]:
    """Every case that has a result, with what it should be."""
    checked = []
    for case in cases:
        if case.id in results:
            keys = [key for key in (case.id, *case.flags) if key in expected_failures]
            reason = expected_failures[keys[0]] if keys else None
            checked.append(CheckedCase(case, task, results[case.id], reason))
    if task.weights == "uniform" and not task.summed_over_classes:
        summed = compare(cases, results, replace(task, summed_over_classes=True), expected_failures)
        if _right_plain_cases(summed) >= _right_plain_cases(checked):
            return summed
    return checked


def tie_orders(case: Case) -> list[Floats | None]:
    """Sorting keys that break ties of the teacher in every way; [None] without ties."""
    if "ties" not in case.flags:
        return [None]
    orders = permutations(range(case.teacher_logits.shape[-1]))
    return [case.teacher_logits - 1e-6 * np.array(order) for order in orders]


def _right_plain_cases(checked: Sequence[CheckedCase]) -> int:
    return sum(c.loss_right for c in checked if "plain" in c.flags)


def _as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
