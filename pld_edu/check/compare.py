"""What was asked for, and whether the numbers that came for each case are right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, permutations, product

import numpy as np

from .adapters import ADAPTERS, Result
from .cases import Answer, Case, Floats
from .engine import same
from .variants import Formula, LossVariant

WEIGHTS = ("teacher", "uniform")
REDUCTIONS = ("mean", "sum", "none")
MAX_TIE_ORDERS = 64
BAD = ("wrong", "raises", "hangs", "crashes")


@dataclass(frozen=True)
class Task:
    """What the loss should compute, and how it is called.

    Attributes
    ----------
    weights : {"teacher", "uniform"}
        PLD, or a ListMLE with weights 1/C.
    reduction : {"mean", "sum", "none"}
    framework : {"numpy", "torch", "jax"}, optional
        None if it is not known.
    timeout : float
        Seconds per call.
    temperature : bool
        Whether the loss takes one.
    summed_over_classes : bool
        The weights of a ListMLE are 1, not 1/C.
    """

    weights: str = "teacher"
    reduction: str = "mean"
    framework: str | None = None
    timeout: float = 5.0
    temperature: bool = True
    summed_over_classes: bool = False

    def check(self) -> "Task":
        """Itself; ValueError for what the checker does not know."""
        for name, value, known in (
            ("framework", self.framework, (*ADAPTERS, None)),
            ("weights", self.weights, WEIGHTS),
            ("reduction", self.reduction, REDUCTIONS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        if not self.timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, got {self.timeout!r}")
        return self

    @property
    def variant(self) -> LossVariant:
        """The right one."""
        weights = "ones" if self.summed_over_classes else self.weights
        return LossVariant(weights=weights, over_batch=self.reduction)

    def loss(self, case: Case) -> Floats:
        """Right value: [], or [N] without reduction."""
        answer, scale = self._answer(case), self._scale(case)
        if self.reduction == "none":
            return answer.loss_per_row * scale
        return np.asarray(answer.loss * scale * self._rows(case))

    def gradient(self, case: Case) -> Floats:
        """Right gradient [N, C]; without reduction each row's own."""
        rows = len(case.labels) if self.reduction != "mean" else 1
        return self._answer(case).gradient * self._scale(case) * rows

    def tolerance(self, case: Case) -> tuple[float, float]:
        """Relative and absolute error that float32 arithmetic may make."""
        allowed = case.tolerance["float32"]
        return allowed["relative"], allowed["absolute"] * self._scale(case) * self._rows(case)

    def _answer(self, case: Case) -> Answer:
        return case.uniform if self.weights == "uniform" else case

    def _scale(self, case: Case) -> float:
        return case.student_logits.shape[-1] if self.summed_over_classes else 1.0

    def _rows(self, case: Case) -> int:
        return len(case.labels) if self.reduction == "sum" else 1


@dataclass(frozen=True, eq=False)
class CheckedCase:
    """A case, what was asked, what came, and the reason if a failure was expected."""

    case: Case
    task: Task
    result: Result
    failure_expected: str | None = None

    @cached_property
    def expected(self) -> Floats:
        return self.task.loss(self.case)

    @cached_property
    def expected_gradient(self) -> Floats:
        return self.task.gradient(self.case)

    @property
    def got(self) -> Floats:
        """The value; one number where one is asked for, whatever axes of length 1 it has."""
        assert self.result.loss is not None
        value = self.result.loss
        return value.reshape(self.expected.shape) if self.shape_right else value

    @property
    def shape_right(self) -> bool:
        """Whether the value has as many numbers as it should."""
        return self.result.loss is not None and self.result.loss.size == self.expected.size

    @cached_property
    def value_right(self) -> bool:
        return self.shape_right and self._agree(self.got, self.expected)

    @cached_property
    def gradient_right(self) -> bool:
        """True too where there is no gradient to check."""
        if self.result.gradient_error is not None:
            return False
        gradient = self.result.gradient
        return gradient is None or self._agree(gradient, self.expected_gradient)

    @cached_property
    def finite(self) -> bool:
        """Whether the call gave nothing but ordinary numbers, as many as it should."""
        return self.result.state == "ok" and self.shape_right and bool(np.isfinite(self.got).all())

    @cached_property
    def outcome(self) -> str:
        """One word.

        "right", "wrong", "raises", "hangs", "crashes", "skipped", "convention" (right by another
        rule for ties) or "weak" (wrong beyond student logits of 100).
        """
        state = self.result.state
        if state == "skipped":
            return "skipped"
        if "nan" in self.case.flags:
            return "wrong" if self.finite else "right"
        if state == "ok" and self.value_right and self.gradient_right:
            return "right"
        if "extreme" in self.case.flags and state in ("ok", "raises"):
            return "weak"
        if state != "ok":
            return state
        if "ties" in self.case.flags and self.reproduced_by(Formula.of(self.task.variant)):
            return "convention"
        return "wrong"

    @property
    def bad(self) -> bool:
        """Whether this case shows a fault."""
        return self.outcome in BAD and self.failure_expected is None

    def reproduced_by(
        self, formula: Formula, *, slack: float = 1.0, gradients: bool = True
    ) -> bool:
        """Whether `formula`, with some order of tied classes, gives these numbers."""
        if not self.finite:
            return False
        gradient = self.result.gradient if gradients else None
        for keys in tie_orders(self.case):
            if self._reproduced(self.got, formula.loss(self.case, keys), slack) and (
                gradient is None
                or self._reproduced(gradient, formula.gradient(self.case, keys), slack)
            ):
                return True
        return False

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
    checked = [
        CheckedCase(case, task, results[case.id], _expected_failure(case, expected_failures))
        for case in cases
        if case.id in results
    ]
    if task.weights == "uniform":  # A ListMLE may have weights 1/C or 1.
        summed = [replace(c, task=replace(task, summed_over_classes=True)) for c in checked]
        if _right_plain_cases(summed) >= _right_plain_cases(checked):
            return summed
    return checked


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


def _expected_failure(case: Case, reasons: Mapping[str, str]) -> str | None:
    return next((reasons[key] for key in (case.id, *case.flags) if key in reasons), None)


def _right_plain_cases(checked: Sequence[CheckedCase]) -> int:
    return sum(c.value_right for c in checked if "plain" in c.case.flags)
