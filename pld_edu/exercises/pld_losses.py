"""PLD losses in exercises: wrong ones, and a test of the learner's by `check_loss`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pld_edu.check import Case, cases, check_loss
from pld_edu.check.pld import PLD

from .calling import NotYet, call, wrapped

Loss = Callable[..., Any]


def as_case(s: ArrayLike, t: ArrayLike, y: ArrayLike, temperature: float = 1.0) -> Case:
    """These inputs as a case of the checker; one row may come without its batch axis."""
    return replace(
        cases()[0],
        student_logits=np.atleast_2d(np.asarray(s, float)),
        teacher_logits=np.atleast_2d(np.asarray(t, float)),
        labels=np.atleast_1d(y),
        temperature=temperature,
    )


def wrong_pld(reverse_ties: bool = False, **changes: Any) -> tuple[Loss, Loss]:
    """Loss and gradient of a PLD with `changes`, as in `pld_edu.check.pld.PLD`."""

    def evaluate(compute: Loss, *inputs: Any) -> Any:
        case = as_case(*inputs)
        nudge = 1e-9 * np.arange(case.teacher_logits.shape[-1]) * reverse_ties
        return compute(PLD(**changes), case, keys=case.teacher_logits + nudge).real

    def wrong_loss(s: Any, t: Any, y: Any, temperature: float = 1.0) -> float:
        return float(evaluate(PLD.value, s, t, y, temperature))

    def wrong_gradient(s: Any, t: Any, y: Any, temperature: float = 1.0) -> Any:
        return evaluate(PLD.gradient, s, t, y, temperature)

    return wrong_loss, wrong_gradient


def passes_check_loss(
    framework: str, *, functions: int = 1, convert: Loss = np.asarray, strict: str = ""
) -> Callable[[Any], None]:
    """A test for an exercise: NotYet with the checker's report unless the loss handed in is right.

    With two `functions` a gradient follows the loss. `convert` makes the framework's arrays, and
    `strict` is a remark of the checker, such as "teacher-not-detached", that does not pass here.
    """

    def test(answer: Any) -> None:
        given = answer if isinstance(answer, tuple) else (answer,)
        if len(given) != functions or not all(callable(f) for f in given):
            wanted = "the function" if functions == 1 else "two functions, loss and gradient,"
            raise NotYet(f"  Hand in {wanted} by name, without calling.")
        case = cases()[0]
        for function in given:
            call(function, *map(convert, (case.student_logits, case.teacher_logits, case.labels)))
        report = check_loss(given[0], framework=framework, gradient=given[1] if given[1:] else None)
        causes = [c for c in report.causes if c.kind == "mistake" or c.name == strict]
        if report.passed and not causes:
            return
        lines = [f"  {line}".rstrip() for line in str(report).splitlines()]
        if report.passed:
            sentence = f"{strict}: {causes[0].sentence}"
            lines = wrapped(f"The loss is right, but one more thing is asked for here. {sentence}")
        raise NotYet("\n".join(lines), " + ".join(c.name for c in causes) or None)

    return test
