"""The engine that the checker and the exercises share.

Both take the same three steps with code that somebody wrote:

1. **Run** it on cases. Each room does this itself: `check.adapters` calls a loss in its framework,
   `exercises.calling` calls a learner's function.
2. **Compare** its numbers with the right ones: `same`.
3. If they differ, **look for the known mistake that gives exactly these numbers**: `find_mistake`.
   For numbers that no known mistake gives, `describe_relation` says if they are wrong in a simple
   way, such as a factor or a sign.

Nothing here knows a loss or an exercise; it needs NumPy alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Candidate = TypeVar("Candidate")

# A number is "right to a few digits" within these tolerances, relative to itself and to the
# largest number.
FEW_DIGITS = 1e-4, 1e-6


@dataclass(frozen=True)
class Mistake:
    """A known mistake.

    Attributes
    ----------
    name : str
        Short, with hyphens; unique in its table.
    sentence : str
        What is wrong.
    fix : str
        How to mend it (in an exercise a hint, which does not give the answer away).
    variants : tuple
        What somebody who makes this mistake writes. For the checker each variant is a dict of
        changes to the loss, for an exercise a wrong answer: a value or a function. Empty if the
        mistake is recognised in another way.
    """

    name: str
    sentence: str = ""
    fix: str = ""
    variants: tuple[Any, ...] = ()


class Relation(NamedTuple):
    """A simple way in which numbers are wrong.

    Attributes
    ----------
    kind : {"kind", "shape", "not finite", "sign", "factor", "digits", "offset"}
    sentence : str
    number : float
        The factor (kinds "sign" and "factor") or the offset; otherwise nan.
    """

    kind: str
    sentence: str
    number: float = float("nan")


def same(got: Any, wanted: Any, rtol: float, atol: float) -> bool:
    """Whether two answers agree: numbers within a tolerance, everything else exactly.

    Parameters
    ----------
    got, wanted : Any
        Numbers, arrays, strings, sets, or tuples and dicts of these. Two nan agree.
    rtol, atol : float
        Numbers agree if ``|got - wanted| <= atol + rtol * |wanted|``.
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

    Parameters
    ----------
    candidates : iterable
        The likeliest first, since different mistakes may give the same numbers.
    fits : callable
        ``fits(candidate)``: whether the candidate gives the numbers that count, for instance those
        of all cases where a finite number came.
    fits_fully : callable, optional
        A stricter test: a candidate that passes both is preferred to earlier ones that pass only
        the first, for instance one that also gives the same gradients.
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
    """The one simple way in which all numbers are wrong, if there is one.

    Parameters
    ----------
    got, wanted : sequence
        One entry per case: a number, an array or anything else.
    rtol : float
        How closely the numbers must obey the relation; 1e-3 suits float32.

    Returns
    -------
    Relation or None
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
        return Relation(
            "not finite",
            "nan or inf came out where the right number is finite: an exponential overflowed, "
            "a logarithm got 0, or something was divided by 0.",
        )
    if not np.isfinite(x).all() or np.unique(y).size < 2:
        return None
    factor = common_factor(x, y, rtol)
    if factor is not None and np.isclose(factor, -1.0, rtol=max(rtol, 1e-5)):
        return Relation("sign", "Every number has the wrong sign.", factor)
    if factor is not None and not np.isclose(factor, 1.0, rtol=max(rtol, 1e-5)):
        return Relation("factor", f"Every number is {factor:.4g} times the right one.", factor)
    scale = np.abs(y).max()
    if np.allclose(x, y, rtol=FEW_DIGITS[0], atol=FEW_DIGITS[1] * scale):
        sentence = "Right to a few digits only: rounding, float32 perhaps, has taken the others."
        return Relation("digits", sentence)
    offset = float((x - y)[0])
    if np.allclose(x - y, offset, rtol=rtol, atol=rtol / 100 * scale):
        return Relation("offset", f"Every number is off by the same {offset:+.4g}.", offset)
    return None
