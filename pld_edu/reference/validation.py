"""What the reference accepts, and the sentence it answers with when it gets something else."""

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REDUCTIONS = ("mean", "sum", "none")


def as_logits(name: str, values: ArrayLike) -> Floats:
    """`values` as a float64 array [..., C] with at least one class."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(
            f"{name} must have shape [..., C] with C >= 1 classes, got shape {array.shape}"
        )
    return array.astype(np.float64)


def as_logits_pair(student_logits: ArrayLike, teacher_logits: ArrayLike) -> tuple[Floats, Floats]:
    """Student and teacher logits of one and the same shape, each row with a usable value."""
    s = as_logits("student_logits", student_logits)
    t = as_logits("teacher_logits", teacher_logits)
    if s.shape != t.shape:
        raise ValueError(
            "student_logits and teacher_logits must have the same shape, got "
            f"{s.shape} and {t.shape}; nothing is broadcast between them"
        )
    return s, t


def as_labels(
    labels: ArrayLike, logits: Floats, ignore_index: int | None
) -> tuple[Ints, NDArray[np.bool_]]:
    """Labels as int64 with ignored rows set to class 0, and the mask of the rows that count."""
    y = np.asarray(labels)
    if y.dtype.kind not in "iu":
        raise ValueError(f"labels must be integer class indices, got dtype {y.dtype}")
    if y.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must have one entry per row of logits, shape {logits.shape[:-1]}, "
            f"got shape {y.shape}"
        )
    y = y.astype(np.int64)
    keep = np.ones(y.shape, bool) if ignore_index is None else np.asarray(y != ignore_index)
    classes = logits.shape[-1]
    outside = y[keep & ((y < 0) | (y >= classes))]
    if outside.size:
        ignored = "" if ignore_index is None else f" (or ignore_index={ignore_index})"
        raise ValueError(
            f"labels must lie in 0..{classes - 1} for {classes} classes{ignored}, "
            f"got {outside.flat[0]}"
        )
    return np.where(keep, y, 0), keep


def check_values(name: str, values: Floats, *, minus_infinity: bool) -> None:
    """Refuse NaN and infinities; minus infinity, a masked class, may be allowed."""
    bad = np.isnan(values) | np.isposinf(values)
    if not minus_infinity:
        bad |= np.isneginf(values)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        wanted = "finite or -inf (a masked class)" if minus_infinity else "finite"
        raise ValueError(f"{name} must be {wanted}, got {values[where]} at index {list(where)}")


def check_masked_classes(s: Floats, t: Floats) -> None:
    """Refuse a student that rules out a class for which the teacher has a probability."""
    check_values("student_logits", s, minus_infinity=True)
    check_values("teacher_logits", t, minus_infinity=True)
    one_sided = np.isneginf(s) & ~np.isneginf(t)
    if one_sided.any():
        where = tuple(int(i) for i in np.argwhere(one_sided)[0])
        raise ValueError(
            f"student_logits is -inf at index {list(where)} where teacher_logits is {t[where]}: "
            "the loss is infinite there; mask a class in both or in neither"
        )
    empty = np.isneginf(t).all(axis=-1)
    if empty.any():
        row = [int(i) for i in np.argwhere(empty)[0]]
        raise ValueError(
            f"teacher_logits is -inf for every class of row {row}; leave at least one class"
        )


def check_label_unmasked(s: Floats, y: Ints) -> None:
    """Refuse a row whose label is a masked class of the student."""
    masked = np.isneginf(np.take_along_axis(s, y[..., None], axis=-1)[..., 0])
    if masked.any():
        row = tuple(int(i) for i in np.argwhere(masked)[0])
        raise ValueError(
            f"student_logits is -inf for the label {y[row]} of row {list(row)}; "
            "a label cannot be a masked class"
        )


def check_temperature(temperature: float) -> float:
    """A positive finite number."""
    if not isinstance(temperature, Real):
        raise ValueError(f"temperature must be a number, got {type(temperature).__name__}")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, got {temperature!r}")
    return float(temperature)


def check_reduction(reduction: str) -> None:
    """One of "mean", "sum", "none"."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")


def row_factor(keep: NDArray[np.bool_], reduction: str) -> float:
    """What each counted row contributes to the reduced loss: 1, or 1/N for a mean."""
    if reduction != "mean":
        return 1.0
    if keep.size == 0:
        raise ValueError(
            "the batch is empty (0 rows) and has no mean; "
            'skip it, or use reduction="sum" or reduction="none"'
        )
    counted = int(keep.sum())
    return 1.0 / counted if counted else float("nan")


def reduce_rows(rows: Floats, keep: NDArray[np.bool_], reduction: str) -> float | Floats:
    """Row losses reduced as `torch.nn.functional.cross_entropy` does; ignored rows are 0."""
    rows = np.where(keep, rows, 0.0)
    factor = row_factor(keep, reduction)
    if reduction == "none":
        return rows if rows.ndim else float(rows)
    return float(rows.sum() * factor)
