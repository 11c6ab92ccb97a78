"""Whether the numbers that came for each case are right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from operator import attrgetter
from typing import Any

import numpy as np

from .adapters import Result
from .cases import Answer, Case, Floats
from .engine import same
from .formula import Formula
from .pld import PLD

BAD = ("wrong", "raises", "hangs", "crashes")


@dataclass(frozen=True, eq=False, repr=False)
class CheckedCase:
    """A case, the right loss, what came, and the reason if a failure was expected."""

    case: Case
    right: Formula
    result: Result
    failure_expected: str | None = None

    id = property(attrgetter("case.id"))
    flags = property(attrgetter("case.flags"))
    got_gradient = property(attrgetter("result.gradient"))

    @cached_property
    def expected(self) -> Floats:
        """Right value: [], or [N] without reduction."""
        per_row = self.right.over_batch == "none"
        if not self._shares:
            return self.right.value(self.case).real
        answer = self._mix(attrgetter("loss_per_row" if per_row else "loss"))
        return np.asarray(answer * self._rows)

    @cached_property
    def expected_gradient(self) -> Floats:
        """Right gradient [N, C]; without reduction each row's own."""
        if not self._shares:
            return self.right.gradient(self.case)
        rows = len(self.case.labels) if self.right.over_batch == "none" else 1
        return self._mix(attrgetter("gradient")) * self._rows * rows

    @property
    def got(self) -> Any:
        """The value, if there is one; in the right shape if it has as many numbers as it should."""
        value: Any = self.result.loss
        return value.reshape(self.expected.shape) if self.shape_right else value

    @property
    def shape_right(self) -> bool:
        """Whether the value has as many numbers as it should."""
        return self.result.loss is not None and self.result.loss.size == self.expected.size

    @cached_property
    def loss_right(self) -> bool:
        """Whether the value is right within the tolerance."""
        return self.shape_right and self._agree(self.got, self.expected)

    @cached_property
    def gradient_right(self) -> bool:
        """Whether the gradient is right within the tolerance."""
        return self.got_gradient is not None and self._agree(
            self.got_gradient, self.expected_gradient
        )

    @cached_property
    def finite(self) -> bool:
        """Whether the call gave nothing but ordinary numbers, as many as it should."""
        return self.result.state == "ok" and self.shape_right and bool(np.isfinite(self.got).all())

    @cached_property
    def outcome(self) -> str:
        """One of "right", "wrong", "raises", "hangs", "crashes", "skipped", and the harmless ones.

        "convention" (another rule for ties), "weak" (beyond 100), "expected failure: reason".
        """
        state, slope = self.result.state, self.got_gradient
        if state == "skipped":
            return state
        right = self.loss_right and not self.result.gradient_error
        right = right and (slope is None or self._agree(slope, self.expected_gradient))
        if "nan" in self.flags:
            right = not self.finite
        if right:
            return "right"
        if "extreme" in self.flags and state in ("ok", "raises"):
            return "weak"
        if "ties" in self.flags and self.reproduced_by(self.right):
            return "convention"
        if self.failure_expected:
            return f"expected failure: {self.failure_expected}"
        return "wrong" if state == "ok" else state

    @property
    def bad(self) -> bool:
        """Whether this case shows a fault."""
        return self.outcome in BAD

    def reproduced_by(
        self, variant: Formula, *, slack: float = 1.0, gradients: bool = True
    ) -> bool:
        """Whether the variant, with some order of tied classes, gives these numbers."""
        if not self.finite or (gradients and self.result.gradient_error):
            return False
        pairs: list[tuple[Any, Any]] = [(self.got, type(variant).value)]
        if gradients and self.got_gradient is not None:
            pairs.append((self.got_gradient, type(variant).gradient))
        size = sum(map(abs, variant.coefficients)) * self._rows
        t = self.case.teacher_logits
        orders: list[Floats | None] = [None]
        if "ties" in self.flags:
            orders = [t - 1e-6 * np.array(p) for p in permutations(range(t.shape[-1]))]
        return any(
            all(
                self._reproduced(x, of(variant, self.case, keys=keys).real, slack, size)
                for x, of in pairs
            )
            for keys in orders
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and lists."""
        inputs = ("student_logits", "teacher_logits", "labels", "temperature")
        numbers = ("expected", "got", "expected_gradient", "got_gradient")
        return {
            "id": self.id,
            "flags": self.flags,
            **{name: np.asarray(getattr(self, name)).tolist() for name in numbers},
            "loss_right": self.loss_right,
            "outcome": self.outcome,
            "message": self.result.message,
            "inputs": {name: np.asarray(getattr(self.case, name)).tolist() for name in inputs},
        }

    def _mix(self, number: Callable[[Answer], Any]) -> Any:
        """A number of the published answers, each times its share in the right loss."""
        return sum(a * number(self.case.answers[key]) for key, a in self._shares.items())

    @cached_property
    def _shares(self) -> dict[str, float]:
        """What the right loss holds of the published answers; nothing if they do not hold it."""
        shares = self.right.shares(self.case)
        return shares if shares.keys() <= self.case.answers.keys() else {}

    @property
    def _rows(self) -> int:
        """A sum is N times as large as a mean."""
        return len(self.case.labels) if self.right.over_batch == "sum" else 1

    @property
    def _scale(self) -> float:
        """How many times larger than the published ones the right numbers are at most."""
        shares = self._shares.values() or self.right.coefficients
        return sum(map(abs, shares)) * self._rows

    @property
    def allowed(self) -> tuple[float, float]:
        """Absolute and relative tolerance of a loss of size 1."""
        tolerance = self.case.tolerance["float32"]
        return tolerance["absolute"], tolerance["relative"]

    def _agree(
        self, got: Floats, wanted: Floats, slack: float = 1.0, size: float | None = None
    ) -> bool:
        """Whether numbers are equal up to `slack` times the tolerance for their size."""
        absolute, relative = self.allowed
        size = self._scale if size is None else size
        return same(got, wanted, slack * relative, slack * absolute * size)

    def _reproduced(self, got: Floats, wanted: Floats, slack: float, size: float) -> bool:
        """`_agree`, for numbers that may be larger than the right ones, and so their rounding."""
        size = float(np.abs(wanted).max(initial=size))
        return np.isfinite(size) and self._agree(got, wanted, slack, size)


def compare(
    results: Sequence[Result], right: Formula, expected_failures: Mapping[str, str]
) -> list[CheckedCase]:
    """Every result beside what it should be; right for weights "uniform" are 1/C or 1."""
    checked = []
    for result in results:
        case = result.case
        reasons = [expected_failures[k] for k in (case.id, *case.flags) if k in expected_failures]
        checked.append(CheckedCase(case, right, result, reasons[0] if reasons else None))
    if not isinstance(right, PLD) or right.weights != "uniform":
        return checked
    summed = compare(results, replace(right, weights="ones"), expected_failures)
    return max(
        (summed, checked), key=lambda cs: sum(c.loss_right for c in cs if "plain" in c.flags)
    )
