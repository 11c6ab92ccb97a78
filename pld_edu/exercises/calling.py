"""Calling a learner's code, and saying in words what came of it."""

import inspect
import traceback
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pld_edu.check.engine import as_array

Floats = NDArray[np.float64]
OWN_FOLDER = str(Path(__file__).parents[1])
LONGEST = 90


class NotYet(AssertionError):
    """An answer that is not right yet; the message is written for the learner.

    Attributes
    ----------
    mistake : str or None
        Name of the mistake, if it was recognised.
    """

    def __init__(self, message: str, mistake: str | None = None) -> None:
        super().__init__(message)
        self.mistake = mistake

    def _render_traceback_(self) -> list[str]:
        """IPython shows this in place of a traceback."""
        return str(self).splitlines()


class NoAnswer(NotYet):
    """A blank still holds its three dots."""

    def __init__(self, name: str = "") -> None:
        fill = "  No answer yet: fill in the blank, run its cell, then run this one."
        super().__init__(f"  {name} is not answered yet." if name else fill)


def is_blank(value: Any) -> bool:
    """Whether an answer is missing: ``...`` or None, also inside a list, an array or a dict."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.tolist()
    if isinstance(value, list | tuple):
        return any(is_blank(part) for part in value)
    return value is None or value is ...


def call(function: Callable[..., Any], *arguments: Any, copy: bool = True) -> Any:
    """What a learner's function returns on (copies of) the arguments.

    Raises
    ------
    NoAnswer
        It returns ``...``, or computes with it.
    NotYet
        It is no function, is not written yet, raises an exception, returns nothing, or writes into
        an array that belongs to its caller.
    """
    if not callable(function):
        raise NotYet("  Hand in the function itself, by its name, without calling it.")
    name = getattr(function, "__name__", "your function")
    given = deepcopy(arguments) if copy else arguments
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = function(*given)
    except NotImplementedError:
        todo = f"  {name} is not written yet: fill it in, run its cell, then run this one."
        raise NotYet(todo) from None
    except Exception as error:
        if "ellipsis" in str(error):
            raise NoAnswer from None
        lines = wrapped(f"{name} raised {type(error).__name__}: {error}") + _line_of(error)
        raise NotYet("\n".join([*lines, *shown(function, arguments)])) from None
    if value is not None and is_blank(value):
        raise NoAnswer
    if value is None:
        raise NotYet(f"  {name} returned None. Does it end with a return?")
    for used, argument in zip(given, arguments, strict=True):
        if isinstance(argument, np.ndarray) and not np.array_equal(used, argument):
            raise NotYet(f"  {name} changes an array of its caller: work on a copy of it.")
    return value


def _line_of(error: Exception) -> list[str]:
    """The line of the learner's own code in which an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(OWN_FOLDER)]
    own = [f for f in own if "site-packages" not in f.filename]
    return [f"  in the line `{own[-1].line.strip()}`"] if own and own[-1].line else []


def shown(function: Callable[..., Any], arguments: Sequence[Any], **more: Any) -> list[str]:
    """Indented lines: one for each argument of `function`, then one for each of `more`."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    names += [f"argument {i + 1}" for i in range(len(names), len(arguments))]
    rows = {**dict(zip(names, arguments, strict=False)), **more}
    width = max(map(len, rows), default=0)
    return [f"    {name:<{width}}  {short(value)}" for name, value in rows.items()]


def short(value: Any) -> str:
    """A value on one line, with 6 digits."""
    if callable(value):
        return str(getattr(value, "__name__", value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {short(part)}" for key, part in value.items())
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(str, value))) + "}" if value else "set()"
    array = None if isinstance(value, str) else as_array(value)
    if array is None:
        text = repr(value)
    elif array.size > 24:
        return f"array of shape {array.shape}"
    elif array.ndim == 0:
        text = f"{array.item():.6g}" if array.dtype.kind == "f" else str(array.item())
    else:
        text = " ".join(np.array2string(array, precision=6, separator=", ").split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def wrapped(text: str) -> list[str]:
    """Lines of at most 88 characters, indented by two."""
    lines = wrap(text, 86, break_on_hyphens=False, break_long_words=False)
    return [f"  {line}" for line in lines]
