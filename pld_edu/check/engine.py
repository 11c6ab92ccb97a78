"""The engine that the checker and the exercises share. It knows no loss and no exercise.

Both take the same three steps with code that somebody wrote:

1. **Run** it on cases: `check.adapters` calls a loss, `exercises.calling` a learner's function.
2. **Compare** its numbers with the right ones: `same`.
3. If they differ, **look for the known mistake that gives exactly these numbers**: `find_mistake`.
   If there is none, `describe_relation` says if all numbers are wrong in one simple way.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Candidate = TypeVar("Candidate")

FEW_DIGITS = 1e-4  # Relative error of numbers that are right to a few digits.


@dataclass(frozen=True)
class Mistake:
    """A known mistake: its name, what is wrong, and how to mend it (in an exercise, a hint).

    `variants` are what people write who make it: for the checker dicts of changes to the loss, for
    an exercise wrong answers, values or functions. Empty if it is recognised in another way.
    """

    name: str
    sentence: str = ""
    fix: str = ""
    variants: tuple[Any, ...] = ()


class Relation(NamedTuple):
    """A simple way in which numbers are wrong.

    `kind` is "kind", "shape", "not finite", "sign", "factor", "digits" or "offset"; `number` is the
    factor or the offset, otherwise nan.
    """

    kind: str
    sentence: str
    number: float = float("nan")


def same(got: Any, wanted: Any, rtol: float, atol: float) -> bool:
    """Whether two answers agree: numbers within a tolerance, everything else exactly.

    Answers are numbers, arrays, strings, sets, or tuples and dicts of these. Numbers agree if
    ``|got - wanted| <= atol + rtol * |wanted|``, and so do two nan.
    """
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


def as_array(value: Any) -> Array | None:
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


def find_mistake(
    candidates: Iterable[Candidate],
    fits: Callable[[Candidate], bool],
    fits_fully: Callable[[Candidate], bool] | None = None,
) -> Candidate | None:
    """The first candidate that gives the numbers that came; None if there is none.

    The likeliest candidates should come first, since different mistakes may give the same numbers.
    ``fits(candidate)`` says if a candidate gives the numbers that count, `fits_fully` if it gives
    others too, such as gradients; one that does both is preferred to earlier ones that only fit.
    """
    fallback = None
    for candidate in candidates:
        if fits(candidate):
            if fits_fully is None or fits_fully(candidate):
                return candidate
            fallback = candidate if fallback is None else fallback
    return fallback


def describe_relation(
    got: Sequence[Any], wanted: Sequence[Any], rtol: float = 1e-8
) -> Relation | None:
    """The one simple way in which all numbers are wrong; None if there is none.

    `got` and `wanted` hold one entry per case: a number, an array or anything else. The numbers
    must obey the relation within `rtol`; 1e-3 suits float32.
    """
    x, y = [], []
    for g, w in zip(got, wanted, strict=True):
        a, b = as_array(g), as_array(w)
        if b is None:
            kinds = type(w).__name__, type(g).__name__
            if kinds[0] == kinds[1]:
                return None
            return Relation("kind", "A {} is wanted, not a {}.".format(*kinds))
        if a is None:
            return Relation("kind", "A number or an array of numbers is wanted.")
        if a.shape != b.shape:
            shape = f"an array of shape {b.shape}" if b.ndim else "one number"
            return Relation("shape", f"The shape is wrong: wanted {shape}, got shape {a.shape}.")
        x.append(np.ravel(a).astype(float))
        y.append(np.ravel(b).astype(float))
    return _compare_numbers(np.concatenate(x), np.concatenate(y), rtol)


def common_factor(x: Array, y: Array, rtol: float) -> float | None:
    """The number a with ``x = a y``, a = (x . y) / (y . y); None if there is none, or it is 0."""
    if not (np.isfinite(x).all() and np.isfinite(y).all() and y.any()):
        return None
    factor = float(x @ y / (y @ y))
    within = np.allclose(x, factor * y, rtol=rtol, atol=rtol / 100 * np.abs(factor * y).max())
    return factor if factor and within else None


def _compare_numbers(x: Array, y: Array, rtol: float) -> Relation | None:
    if np.isfinite(y).all() and not np.isfinite(x).all():
        sentence = (
            "nan or inf came out where the right number is finite: an exponential overflowed, "
            "a logarithm got 0, or something was divided by 0."
        )
        return Relation("not finite", sentence)
    if not np.isfinite(x).all() or np.unique(y).size < 2:
        return None
    factor, close = common_factor(x, y, rtol), max(rtol, 1e-5)
    if factor is not None and np.isclose(factor, -1.0, rtol=close):
        return Relation("sign", "Every number has the wrong sign.", factor)
    if factor is not None and not np.isclose(factor, 1.0, rtol=close):
        return Relation("factor", f"Every number is {factor:.4g} times the right one.", factor)
    scale, offset = np.abs(y).max(), float((x - y)[0])
    if np.allclose(x, y, rtol=FEW_DIGITS, atol=FEW_DIGITS / 100 * scale):
        sentence = "Right to a few digits only: rounding, float32 perhaps, has taken the others."
        return Relation("digits", sentence)
    if np.allclose(x - y, offset, rtol=rtol, atol=rtol / 100 * scale):
        return Relation("offset", f"Every number is off by the same {offset:+.4g}.", offset)
    return None
