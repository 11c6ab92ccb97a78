"""Loss and gradient of every row together, in blocks, so that little memory is used beside them."""

from math import inf
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..losses.validation import as_labels, check_finite, check_label_unmasked, check_masked_classes
from . import cpu
from .blocks import blocks, empty_gradient
from .ordering import label_first
from .stick_breaking import losses_and_gradient
from .validation import checked_weights, ends
from .weights import by_rank, widest

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
    kept = None if keep is None else keep.reshape(-1, 1)
    given = None if isinstance(weights, str) else _as_rows(checked_weights(weights))
    if isinstance(weights, str) and _fits_kernel(s, t):
        from .triton_kernel import pld_rows_and_gradient

        rows, gradient = pld_rows_and_gradient(s, t, y, temperature, weights)
        rows = rows.double()
        if kept is not None:
            rows.masked_fill_(~kept.squeeze(-1), 0.0)
            gradient.masked_fill_(~kept, 0.0)
        return *_as_given(rows, gradient, student_logits), keep
    if s.device.type == "cpu" and keep is None and isinstance(weights, str):
        done = cpu.from_teacher(s, t, y, temperature, weights)
        if done is not None:
            return *_as_given(*done, student_logits), None
    rows = torch.empty(len(s), dtype=widest(s), device=s.device)
    gradient = empty_gradient(s)
    name = weights if isinstance(weights, str) else ""
    for values, slopes, *block in blocks(s, rows, gradient, s, t, y, kept, given):
        s_block, t_block, y_block, kept_block, alpha = block
        ranked = _ranked(s_block, t_block, y_block, kept_block, alpha, temperature, name)
        if ranked.masked is not None:
            _check_values(student_logits, teacher_logits, labels, ignore_index)
        _write(values, slopes, ranked)
    return *_as_given(rows, gradient, student_logits), keep


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
        from .triton_kernel import cached_rows_and_gradient

        rows, gradient = cached_rows_and_gradient(s, ranking, alpha)
        return *_as_given(rows.double(), gradient, student_logits), None
    if s.device.type == "cpu":
        done = cpu.from_targets(s, ranking, alpha)
        if done is not None:
            return *_as_given(*done, student_logits), None
    rows = torch.empty(len(s), dtype=widest(s), device=s.device)
    gradient = empty_gradient(s)
    for values, slopes, s_block, order, a_block in blocks(s, rows, gradient, s, ranking, alpha):
        span = _span(s_block)
        if not span < inf:
            check_finite("student_logits", student_logits.detach())
        order = order.long() & 0xFFFF if order.dtype == torch.int16 else order.long()
        _write(values, slopes, _Ranked(order, s_block.gather(-1, order), a_block, span, None))
    return *_as_given(rows, gradient, student_logits), None


class _Ranked(NamedTuple):
    """A block in rank order, as `losses_and_gradient` wants it."""

    order: Tensor
    scores: Tensor
    alpha: Tensor
    span: float
    masked: Tensor | None


def _ranked(
    s: Tensor,
    t: Tensor,
    y: Tensor,
    kept: Tensor | None,
    given: Tensor | None,
    temperature: float,
    name: str,
) -> _Ranked:
    if kept is not None:
        s, t = torch.where(kept, s, 0.0), torch.where(kept, t, 0.0)
    order = label_first(t, y)
    scores, logits = s.gather(-1, order), t.gather(-1, order)
    alpha = by_rank(logits, temperature, name) if given is None else given
    span, masked = _span(s), None
    if not (span < inf and _span(t) < inf):
        masked = scores.isneginf() & logits.isneginf()
        alpha = alpha.masked_fill(masked, 0.0)
    if kept is not None:
        alpha = torch.where(kept, alpha, 0.0)
    return _Ranked(order, scores, alpha, span, masked)


def _write(values: Tensor, slopes: Tensor, ranked: _Ranked) -> None:
    losses, gradient = losses_and_gradient(*ranked[1:])
    values.copy_(losses)
    slopes.scatter_(-1, ranked.order, gradient.to(slopes.dtype))


def _as_rows(values: Tensor) -> Tensor:
    values = values.detach()
    return values if values.ndim == 2 else values.reshape(-1, values.shape[-1])


def _as_given(rows: Tensor, gradient: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    if like.ndim == 2:
        return rows, gradient
    return rows.view(like.shape[:-1]), gradient.view(like.shape)


def _span(block: Tensor) -> float:
    """Largest value minus smallest; infinite or NaN if one of them is."""
    low, high = ends(block)
    return high - low


def _fits_kernel(*logits: Tensor) -> bool:
    if logits[0].device.type != "cuda":
        return False
    from . import triton_kernel  # who has no GPU need not wait for Triton

    return (
        triton_kernel.available()
        and logits[0].shape[-1] <= triton_kernel.MAX_CLASSES
        and all(z.dtype in triton_kernel.DTYPES for z in logits)
    )


def _labels(labels: Tensor, s: Tensor, ignore_index: int) -> tuple[Tensor, Tensor | None]:
    """Labels in 0..C-1 as int64, and the rows that are not ignored, None if that is all."""
    classes = s.shape[-1]
    if labels.device.type == "cpu" and labels.numel() and not 0 <= ignore_index < classes:
        # As an unsigned number, a negative label is too large as well.
        y = labels if labels.dtype == torch.int64 else labels.long()
        if y.numpy().view(np.uint64).max() < classes:
            return y, None
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
