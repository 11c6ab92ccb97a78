"""The exercises by number, and what their checks say."""

from typing import Any

import pytest

from pld_edu.exercises import NOTEBOOKS, NotYet, check, exercises, fill_ins

FILL_INS = [blank for notebook in NOTEBOOKS for blank in fill_ins(notebook)]
EVERY = [e for notebook in NOTEBOOKS for e in exercises(notebook)] + FILL_INS


def find(number: str) -> Any:
    return next(exercise for exercise in EVERY if exercise.number == number)


def accept(number: str, *answer: Any) -> None:
    check(number, *answer)


def refuse(number: str, *answer: Any, mistake: str | None = None) -> str:
    """The message for an answer that is not right; `mistake` is the name that it should give."""
    with pytest.raises(NotYet) as caught:
        check(number, *answer)
    assert caught.value.mistake == mistake
    return str(caught.value)
