"""What the losses accept, and the sentence they answer with when they get something else."""

from collections.abc import Callable
from numbers import Real

import torch
from torch import Tensor

REDUCTIONS = ("mean", "sum", "none")
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def as_logits(name: str, values: Tensor) -> Tensor:
    """`values` [..., C] in float64, or in float32 on a device that has nothing wider."""
    if not isinstance(values, Tensor):
        raise ValueError(
            f"{name} must be a torch.Tensor, got {type(values).__name__}; "
            "NumPy arrays go to pld_edu.reference, or through torch.as_tensor"
        )
    if not values.is_floating_point():
        raise ValueError(f"{name} must be floating point, got dtype {values.dtype}")
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(
            f"{name} must have shape [..., C] with C >= 1 classes, got shape {tuple(values.shape)}"
        )
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)


def as_logits_pair(student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Student and detached teacher logits of one and the same shape."""
    s = as_logits("student_logits", student_logits)
    t = as_logits("teacher_logits", teacher_logits).detach()
    if s.shape != t.shape:
        raise ValueError(
            "student_logits and teacher_logits must have the same shape, got "
            f"{tuple(s.shape)} and {tuple(t.shape)}; nothing is broadcast between them"
        )
    return s, t


def as_labels(labels: Tensor, logits: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Labels as int64 with ignored rows set to class 0, and the mask of the rows that count."""
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels must be a torch.Tensor, got {type(labels).__name__}")
    if labels.dtype not in INTEGERS:
        raise ValueError(f"labels must be integer class indices, got dtype {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            "labels must have one entry per row of logits, shape "
            f"{tuple(logits.shape[:-1])}, got shape {tuple(labels.shape)}"
        )
    y = labels.long()
    keep = torch.ones_like(y, dtype=torch.bool) if ignore_index is None else y != ignore_index
    classes = logits.shape[-1]
    ignored = "" if ignore_index is None else f" (or ignore_index={ignore_index})"
    refuse(
        keep & ((y < 0) | (y >= classes)),
        lambda row: (
            f"labels must lie in 0..{classes - 1} for {classes} classes{ignored}, got {int(y[row])}"
        ),
    )
    return torch.where(keep, y, 0), keep


def check_finite(name: str, values: Tensor) -> None:
    """Refuse NaN and infinities."""
    refuse(
        ~values.isfinite(),
        lambda at: f"{name} must be finite, got {values[at].item()} at index {list(at)}",
    )


def check_no_nan_or_posinf(name: str, values: Tensor) -> None:
    """Refuse NaN and +inf; minus infinity is a masked class."""
    refuse(
        values.isnan() | values.isposinf(),
        lambda at: (
            f"{name} must be finite or -inf (a masked class), "
            f"got {values[at].item()} at index {list(at)}"
        ),
    )


def check_masked_classes(s: Tensor, t: Tensor) -> None:
    """Refuse NaN, +inf, and -inf in the student alone; -inf in both masks a class."""
    check_no_nan_or_posinf("student_logits", s)
    check_no_nan_or_posinf("teacher_logits", t)
    refuse(
        s.isneginf() & ~t.isneginf(),
        lambda at: (
            f"student_logits is -inf at index {list(at)} where teacher_logits is "
            f"{t[at].item()}: the loss is infinite there; mask a class in both or in neither"
        ),
    )
    refuse(
        t.isneginf().all(dim=-1),
        lambda row: (
            f"teacher_logits is -inf for every class of row {list(row)}; leave at least one class"
        ),
    )


def check_label_unmasked(s: Tensor, y: Tensor) -> None:
    """Refuse a row whose label is a masked class of the student."""
    refuse(
        s.gather(-1, y.unsqueeze(-1)).squeeze(-1).isneginf(),
        lambda row: (
            f"student_logits is -inf for the label {int(y[row])} of row {list(row)}; "
            "a label cannot be a masked class"
        ),
    )


def fill_masked(values: Tensor, masked: Tensor) -> Tensor:
    """`values` with a number far below every logit where -inf differences would be NaN."""
    return torch.where(masked, torch.finfo(values.dtype).min / 4, values)


def check_temperature(temperature: float) -> None:
    """A positive finite number."""
    if not isinstance(temperature, Real):
        raise ValueError(f"temperature must be a number, got {type(temperature).__name__}")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, got {temperature!r}")


def check_reduction(reduction: str) -> None:
    """One of "mean", "sum", "none"."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")


def refuse(bad: Tensor, message: Callable[[tuple[int, ...]], str]) -> None:
    """Raise ValueError for the first True of `bad`, where its values can be read for nothing."""
    if torch.compiler.is_compiling() or bad.device.type != "cpu":
        return
    try:
        found = bool(bad.any())
    except RuntimeError:  # vmap, fake tensors: there are no values to look at
        return
    if found:
        raise ValueError(message(tuple(int(i) for i in bad.nonzero()[0])))


def reduce_rows(rows: Tensor, keep: Tensor, reduction: str, like: Tensor) -> Tensor:
    """Row losses reduced as `cross_entropy` does, in the dtype of `like` but at least float32."""
    rows = torch.where(keep, rows, 0.0)
    if reduction != "none":
        rows = rows.sum() / rows_in_mean(keep, reduction)
    return rows.to(torch.promote_types(like.dtype, torch.float32))


def rows_in_mean(keep: Tensor, reduction: str) -> Tensor | float:
    """What the sum of row losses is divided by: 1, or the rows that count if it is a mean."""
    if reduction != "mean":
        return 1.0
    if keep.numel() == 0:
        raise ValueError(
            "the batch is empty (0 rows) and has no mean; "
            'skip it, or use reduction="sum" or reduction="none"'
        )
    return keep.sum()
