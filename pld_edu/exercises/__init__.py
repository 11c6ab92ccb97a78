"""Checks for the exercises of the course: which mistake was made, not only that there is one.

In a notebook: ``from pld_edu.exercises import check``, then
``check("01.3 chain of choices", my_function)``. The two kinds of exercises are in `kinds`; a file
named after a notebook holds its exercises, and the blanks of the lesson itself (`fill_ins`).
"""

from importlib import import_module
from typing import Any

from .calling import NoAnswer, NotYet
from .kinds import Code, Values

__all__ = ["NOTEBOOKS", "NotYet", "check", "exercises", "fill_ins"]

NOTEBOOKS = {
    "00": "start_here",
    "01": "choice_models",
    "02": "likelihood",
    "03": "pld_from_scratch",
    "04": "convexity",
    "05": "reductions",
    "06": "numpy_to_pytorch",
    "07": "kd_dist_pld",
    "08": "distil_mnist1d",
    "09": "cifar100",
    "10": "ranking_or_probabilities",
    "11": "check_your_own",
}


def exercises(notebook: str) -> tuple[Values | Code, ...]:
    """The exercises of a notebook, "03" for instance, in order; ValueError if it has none."""
    return tuple(_chapter(notebook).EXERCISES)


def fill_ins(notebook: str) -> tuple[Values | Code, ...]:
    """The blanks in the lesson itself, "03.a" and so on; as `exercises`, but they may be none."""
    return tuple(getattr(_chapter(notebook), "FILL_INS", ()))


def _chapter(notebook: str) -> Any:
    if notebook not in NOTEBOOKS:
        raise ValueError(f"exercises exist for notebooks {', '.join(NOTEBOOKS)}, got {notebook!r}")
    return import_module(f"{__package__}.{NOTEBOOKS[notebook]}")


def check(title: str, *answer: Any) -> None:
    """Print one line if the answer is right; otherwise say which mistake was made.

    A blank in a lesson that still holds ``...`` gets one line too, so that the lesson runs to its
    end. An exercise without an answer raises instead, because graders count what does not raise.

    Parameters
    ----------
    title : str
        Number and name of the exercise, such as "01.3 chain of choices"; the number suffices.
    *answer
        What the exercise asks for: a number, an option, a function, or several of these.

    Raises
    ------
    NotYet
        The answer is not right; its message names the mistake, with a hint.
    ValueError
        There is no such exercise.
    """
    number = title.split(maxsplit=1)[0] if title.split() else ""
    notebook = number.split(".")[0]
    known = exercises(notebook) + fill_ins(notebook)
    exercise = next((e for e in known if number == e.number and title in (number, e.title)), None)
    if exercise is None:
        titles = ", ".join(repr(e.title) for e in known)
        raise ValueError(f"there is no exercise {title!r}; those of this notebook are {titles}")
    try:
        praise = exercise.check(answer[0] if len(answer) == 1 else answer)
    except NotYet as reason:
        if exercise.is_fill_in and isinstance(reason, NoAnswer):
            print(f"{exercise.title}: no answer yet")
            return
        raise NotYet(f"Not yet: {exercise.title}\n{reason}", reason.mistake) from None
    print(f"Right: {praise}")
