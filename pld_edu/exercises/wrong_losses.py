"""PLD with a mistake in it, made from the recipes of the checker."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pld_edu.check.cases import Case, cases
from pld_edu.check.recipes import Recipe, gradient, loss
from pld_edu.reference.validation import Floats


def one_case(s: ArrayLike, t: ArrayLike, y: ArrayLike, temperature: float = 1.0) -> Case:
    """These inputs as a case of the checker; one row may come without its batch axis."""
    return replace(
        cases()[0],
        flags=(),
        student_logits=np.atleast_2d(np.asarray(s, float)),
        teacher_logits=np.atleast_2d(np.asarray(t, float)),
        labels=np.atleast_1d(y),
        temperature=temperature,
    )


def wrong_pld(
    reverse_ties: bool = False, **changes: Any
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Loss and gradient of a PLD with a mistake in it (see `pld_edu.check.recipes`)."""
    recipe = Recipe(**changes)

    def keys(case: Case) -> Floats:
        nudge = 1e-9 * np.arange(case.teacher_logits.shape[-1])
        return case.teacher_logits + nudge * reverse_ties

    def wrong_loss(s: Any, t: Any, y: Any, temperature: float = 1.0) -> Any:
        case = one_case(s, t, y, temperature)
        return loss(recipe, case, keys(case)).real

    def wrong_gradient(s: Any, t: Any, y: Any, temperature: float = 1.0) -> Floats:
        case = one_case(s, t, y, temperature)
        return gradient(recipe, case, keys(case))

    return wrong_loss, wrong_gradient
