"""Loss and gradient of every row together, in blocks, so that little memory is used beside them."""

from collections.abc import Iterator
from math import inf

import torch
from torch import Tensor

from ..losses.validation import as_labels, check_finite, check_label_unmasked, check_masked_classes
from . import triton_kernel
from .ordering import label_first
from .stick_breaking import losses_and_gradient
from .weights import by_rank, widest

# Logits in a block: on a CPU its few arrays of doubles should fit the second-level cache;
# elsewhere it should keep the device busy.
CPU_BLOCK = 2**15
DEVICE_BLOCK = 2**21
Results = tuple[Tensor, Tensor, Tensor | None]


def from_teacher(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    weights: str | Tensor,
    ignore_index: int,
) -> Results:
    """Loss and gradient of each row, with the teacher ranked and weighed here.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor [..., C]
    labels : integer Tensor [...]
    temperature : float
    weights : str or Tensor [..., C]
    ignore_index : int

    Returns
    -------
    rows : Tensor [...]
        float64 where the device has it; 0 where ignored.
    gradient : Tensor [..., C]
        Of each row's own loss; in the student's dtype, but at least float32.
    keep : bool Tensor [...] or None
        The rows that are not ignored; None if that is all.

    Raises
    ------
    ValueError
        On the CPU: impossible labels, and values that `losses.pld_loss` refuses.
    """
    y, keep = _labels(labels, student_logits, ignore_index)
    s, t, y = _as_rows(student_logits), _as_rows(teacher_logits), y.reshape(-1)
    if isinstance(weights, str) and _fits_kernel(s, t):
        rows, gradient = triton_kernel.pld_rows_and_gradient(s, t, y, temperature, weights)
        if keep is not None:
            rows.masked_fill_(~keep.view(-1), 0.0)
            gradient.masked_fill_(~keep.view(-1, 1), 0.0)
        return rows.view(labels.shape).double(), gradient.view(student_logits.shape), keep
    given = None if isinstance(weights, str) else _as_rows(weights)
    rows, gradient = _unfilled(s)
    for block in _blocks(s):
        s_block, t_block = _at_least_float32(s[block]), _at_least_float32(t[block])
        if keep is not None:
            kept = keep.view(-1, 1)[block]
            s_block, t_block = torch.where(kept, s_block, 0.0), torch.where(kept, t_block, 0.0)
        span = _span(s_block)
        finite = span < inf and _span(t_block) < inf
        if not finite:
            _check_values(student_logits, teacher_logits, labels, ignore_index)
        order = label_first(t_block, y[block])
        s_block, t_block = s_block.gather(-1, order), t_block.gather(-1, order)
        if given is None:
            alpha = by_rank(t_block, temperature, weights)
        else:
            alpha = given[block].to(widest(s))
        masked = None if finite else s_block.isneginf() & t_block.isneginf()
        if masked is not None:
            alpha = alpha.masked_fill(masked, 0.0)
        if keep is not None:
            alpha = torch.where(kept, alpha, 0.0)
        losses, slopes = losses_and_gradient(s_block, alpha, span, masked)
        rows[block] = losses
        gradient[block].scatter_(-1, order, slopes.to(gradient.dtype))
    return rows.view(labels.shape), gradient.view(student_logits.shape), keep


def from_targets(student_logits: Tensor, ranking: Tensor, alpha: Tensor) -> Results:
    """Loss and gradient of each row, with rankings and weights from `TeacherTargets`.

    Parameters
    ----------
    student_logits, alpha : Tensor [..., C]
    ranking : int16 or int32 Tensor [..., C]
        int16 holds the bits of an unsigned number.

    Returns
    -------
    rows, gradient, keep
        As from `from_teacher`.

    Raises
    ------
    ValueError
        On the CPU: student logits that are not finite.
    """
    s, ranking, alpha = _as_rows(student_logits), _as_rows(ranking), _as_rows(alpha)
    if _fits_kernel(s):
        rows, gradient = triton_kernel.cached_rows_and_gradient(s, ranking, alpha)
        rows = rows.double()
    else:
        rows, gradient = _unfilled(s)
        for block in _blocks(s):
            s_block = _at_least_float32(s[block])
            span = _span(s_block)
            if not span < inf:
                check_finite("student_logits", student_logits.detach())
            order = ranking[block].long()
            if ranking.dtype == torch.int16:
                order &= 0xFFFF
            losses, slopes = losses_and_gradient(
                s_block.gather(-1, order), alpha[block].to(widest(s)), span
            )
            rows[block] = losses
            gradient[block].scatter_(-1, order, slopes.to(gradient.dtype))
    return rows.view(student_logits.shape[:-1]), gradient.view(student_logits.shape), None


def _as_rows(values: Tensor) -> Tensor:
    return values.detach().reshape(-1, values.shape[-1])


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype.itemsize >= 4 else values.float()


def _span(block: Tensor) -> float:
    """Largest value minus smallest; infinite or NaN if one of them is."""
    low, high = torch.stack(block.aminmax()).tolist()
    return high - low


def _unfilled(s: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(s.dtype, torch.float32)
    return s.new_empty(len(s), dtype=widest(s)), s.new_empty(s.shape, dtype=dtype)


def _blocks(s: Tensor) -> Iterator[slice]:
    size = CPU_BLOCK if s.device.type == "cpu" else DEVICE_BLOCK
    rows = max(1, size // s.shape[-1])
    return (slice(start, start + rows) for start in range(0, len(s), rows))


def _fits_kernel(*logits: Tensor) -> bool:
    return (
        logits[0].device.type == "cuda"
        and triton_kernel.triton is not None
        and logits[0].shape[-1] <= triton_kernel.MAX_CLASSES
        and all(z.dtype in triton_kernel.DTYPES for z in logits)
    )


def _labels(labels: Tensor, s: Tensor, ignore_index: int) -> tuple[Tensor, Tensor | None]:
    """Labels in 0..C-1 as int64, and the rows that are not ignored, None if that is all."""
    if labels.device.type == "cpu" and labels.numel() and not 0 <= ignore_index < s.shape[-1]:
        y = labels.numpy()
        if y.min() >= 0 and y.max() < s.shape[-1]:
            return labels.long(), None
    return as_labels(labels, s, ignore_index)


def _check_values(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, ignore_index: int
) -> None:
    """Refuse everything but classes masked in both, on the CPU."""
    y, keep = as_labels(labels, student_logits, ignore_index)
    s, t = (
        torch.where(keep.unsqueeze(-1), z.detach(), 0.0) for z in (student_logits, teacher_logits)
    )
    check_masked_classes(s, t)
    check_label_unmasked(s, y)
