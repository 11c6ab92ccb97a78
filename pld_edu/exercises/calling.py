"""Calling a learner's code, comparing what came with what was wanted, and saying it in words."""

import inspect
import traceback
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from fractions import Fraction
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

OWN_FOLDER = str(Path(__file__).parents[1])
NO_ANSWER = (None, ...)
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


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns on copies of the arguments.

    Raises
    ------
    NotYet
        It is not written yet, raises, or returns nothing.
    """
    name = getattr(function, "__name__", "your function")
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = function(*deepcopy(arguments))
    except NotImplementedError:
        todo = f"  {name} is still to be written: fill it in, run its cell, then this one."
        raise NotYet(todo) from None
    except Exception as error:
        lines = wrapped(f"{name} raised {type(error).__name__}: {error}") + _line_of(error)
        raise NotYet("\n".join([*lines, *shown(function, arguments)])) from None
    if value is None:
        raise NotYet(f"  {name} returned None. Does it end with a return?")
    return value


def refuse_empty(answer: Any) -> None:
    """NotYet for an answer, or a part of one, that is still `...` or None."""
    parts = answer if isinstance(answer, tuple | list) else [answer]
    missing = [any(part is nothing for nothing in NO_ANSWER) for part in parts]
    if missing and all(missing):
        raise NotYet("  No answer yet: fill in the cell above, run it, then this one.")
    if any(missing):
        raise NotYet("  Not all of it is answered yet.")


def same(got: Any, wanted: Any, rtol: float, atol: float) -> bool:
    """Whether two answers agree: numbers within a tolerance, everything else exactly."""
    if isinstance(wanted, dict):
        return (
            isinstance(got, dict)
            and got.keys() == wanted.keys()
            and all(same(got[key], wanted[key], rtol, atol) for key in wanted)
        )
    if isinstance(wanted, tuple):
        got = list(got) if isinstance(got, np.ndarray) and got.ndim else got
        return (
            isinstance(got, tuple | list)
            and len(got) == len(wanted)
            and all(same(g, w, rtol, atol) for g, w in zip(got, wanted, strict=True))
        )
    if isinstance(wanted, str | set | frozenset):
        return isinstance(got, str | set | frozenset) and got == wanted
    a, b = as_array(got), as_array(wanted)
    if a is None or b is None or a.shape != b.shape or (a.dtype == bool) != (b.dtype == bool):
        return False
    return bool(np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True).all())


def as_array(value: Any) -> np.ndarray | None:
    """Numbers, sequences of numbers, fractions and tensors as an array; None for anything else."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
    if isinstance(value, Fraction):
        value = float(value)
    if isinstance(value, list | tuple):
        value = [float(v) if isinstance(v, Fraction) else v for v in value]
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array if array.dtype.kind in "biuf" else None


def is_finite(value: Any) -> bool:
    """Whether it is a number or an array of numbers, none of them nan or infinite."""
    array = as_array(value)
    return array is not None and bool(np.isfinite(array).all())


def pattern(got: Sequence[Any], wanted: Sequence[Any]) -> str | None:
    """A sentence if all numbers are wrong in one simple way: sign, factor, constant, shape, nan."""
    pairs = [(as_array(g), as_array(w)) for g, w in zip(got, wanted, strict=True)]
    for (a, b), g, w in zip(pairs, got, wanted, strict=True):
        if b is None:
            kinds = type(w).__name__, type(g).__name__
            return None if kinds[0] == kinds[1] else "A {} is wanted, not a {}.".format(*kinds)
        if a is None:
            return "A number or an array of numbers is wanted."
        if a.shape != b.shape:
            shape = f"an array of shape {b.shape}" if b.ndim else "one number"
            return f"The shape is wrong: wanted {shape}, got shape {a.shape}."
    x = np.concatenate([np.ravel(a).astype(float) for a, _ in pairs if a is not None])
    y = np.concatenate([np.ravel(b).astype(float) for _, b in pairs if b is not None])
    if np.isfinite(y).all() and not np.isfinite(x).all():
        return (
            "nan or inf came out where the right number is finite: an exponential overflowed, "
            "a logarithm got 0, or something was divided by 0."
        )
    if not np.isfinite(x).all() or np.unique(y).size < 2:
        return None
    scale = np.abs(y).max()
    factor = float(x @ y / (y @ y))
    if factor and np.allclose(x, factor * y, rtol=1e-8, atol=1e-10 * scale):
        if np.isclose(factor, -1):
            return "Every number has the wrong sign."
        return f"Every number is {factor:.4g} times the right one."
    if np.allclose(x, y, rtol=1e-4, atol=1e-6 * scale):
        return "Right to a few digits only: rounding, float32 perhaps, has taken the others."
    if np.allclose(x - y, (x - y)[0], rtol=1e-8, atol=1e-10 * scale):
        return f"Every number is off by the same {(x - y)[0]:+.4g}."
    return None


def shown(function: Callable[..., Any], arguments: Sequence[Any], **more: Any) -> list[str]:
    """Indented lines, one an argument of `function`, then one for each of `more`."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    names += [f"argument {i + 1}" for i in range(len(names), len(arguments))]
    rows = {**dict(zip(names, arguments, strict=False)), **more}
    width = max(len(name) for name in rows)
    return [f"    {name:<{width}}  {short(value)}" for name, value in rows.items()]


def short(value: Any) -> str:
    """A value on one line, with 6 digits."""
    if callable(value):
        return str(getattr(value, "__name__", value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {short(part)}" for key, part in value.items())
    array = None if isinstance(value, str | set) else as_array(value)
    if array is None:
        text = repr(value)
    elif array.size > 24:
        return f"array of shape {array.shape}"
    elif array.ndim == 0:
        text = f"{array.item():.6g}" if array.dtype.kind == "f" else str(array.item())
    else:
        text = " ".join(np.array2string(array, precision=6, separator=", ").split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def size(arguments: Sequence[Any]) -> int:
    """How many numbers a case holds: the smallest case is the one to think about."""
    arrays = [as_array(a) for a in arguments]
    return sum(1 if a is None else a.size for a in arrays)


def wrapped(text: str) -> list[str]:
    """Lines of at most 88 characters, indented by two."""
    return fill(text, 88, initial_indent="  ", subsequent_indent="  ").splitlines()


def _line_of(error: Exception) -> list[str]:
    """Where in the learner's own code an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(OWN_FOLDER)]
    theirs = [f for f in own if "site-packages" not in f.filename]
    if not theirs or not theirs[-1].line:
        return []
    return [f"  in the line `{theirs[-1].line.strip()}`"]
