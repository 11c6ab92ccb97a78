"""What a frozen teacher says about a data set, ranked and weighed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import losses
from ..losses.plackett_luce import choice_losses
from ..losses.validation import as_labels, as_logits, check_finite, check_reduction, reduce_rows
from .pld import LossAndGradient, Ranked, WithGradient, along_rankings, are_plain, cuda_kernel

SHORT = 2**16  # classes that a 16-bit index can tell apart
BLOCK = 2**20  # logits ranked at a time


@dataclass(frozen=True, eq=False)
class TeacherTargets:
    """Rankings and weights of a frozen teacher, computed once: a step then has no sort at all.

    A target belongs to one input as the teacher saw it. Where inputs are augmented at random, the
    teacher must be asked anew at every step, and `pld_loss` is the function to use.

    To keep targets, ``torch.save(vars(targets), path)``; ``TeacherTargets(**torch.load(path,
    mmap=True))`` then reads only the rows that are asked for.

    Attributes
    ----------
    ranking : Tensor [..., C]
        Classes in rank order. int16 up to 65,536 classes, with the bits of an unsigned number
        (``ranking.int() & 0xFFFF``); int32 beyond.
    weights : float32 Tensor [..., C]
        alpha in rank order.

    Examples
    --------
    >>> teacher_logits = torch.tensor([[0.5, 2.0, -1.0], [1.0, 0.0, 3.0]])
    >>> targets = TeacherTargets.compute(teacher_logits, torch.tensor([2, 2]))
    >>> round(pld_loss_from_targets(torch.tensor([[1.0, 2.0, 3.0]]), targets[:1]).item(), 6)
    0.26204
    """

    ranking: Tensor
    weights: Tensor

    @classmethod
    def compute(
        cls,
        teacher_logits: Tensor,
        labels: Tensor,
        *,
        temperature: float = 1.0,
        weights: str | Tensor = "teacher",
    ) -> TeacherTargets:
        """Rank and weigh every row, on the device of the logits.

        Parameters
        ----------
        teacher_logits : Tensor [..., C]
            Finite: masked classes need `pld_loss`.
        labels : integer Tensor [...]
            In 0..C-1; rows to be ignored are left out before.
        temperature : float
        weights : str or Tensor [..., C]
            See `losses.rank_weights`.

        Raises
        ------
        ValueError
            As in `losses.pld_loss`, and for teacher logits that are not finite.
        """
        check_finite("teacher_logits", as_logits("teacher_logits", teacher_logits).detach())
        y, _ = as_labels(labels, teacher_logits, ignore_index=None)
        t, classes = teacher_logits.detach(), teacher_logits.shape[-1]
        ranking = t.new_empty(t.shape, dtype=torch.int16 if classes <= SHORT else torch.int32)
        alpha = t.new_empty(t.shape, dtype=torch.float32)
        blocks: list[Any] = [...]
        if t.ndim > 1 and t.numel() > BLOCK and isinstance(weights, str):
            step = max(1, BLOCK // t[0].numel())
            blocks = [slice(start, start + step) for start in range(0, len(t), step)]
        for block in blocks:
            order = losses.teacher_ranking(t[block], y[block])
            ranking[block] = order
            options: dict[str, Any] = {"temperature": temperature, "weights": weights}
            alpha[block] = losses.rank_weights(t[block], order, **options)
        return cls(ranking, alpha)

    def __len__(self) -> int:
        return len(self.ranking)

    def __getitem__(self, rows: Any) -> TeacherTargets:
        """The targets of a row, a slice of rows, or the rows of an index tensor."""
        return TeacherTargets(self.ranking[rows], self.weights[rows])

    def to(self, device: torch.device | str) -> TeacherTargets:
        """The same targets on another device."""
        return TeacherTargets(self.ranking.to(device), self.weights.to(device))


def pld_loss_from_targets(
    student_logits: Tensor, targets: TeacherTargets, *, reduction: str = "mean"
) -> Tensor:
    """`pld_loss` of a student against targets that were computed before.

    Parameters
    ----------
    student_logits : Tensor [..., C]
        Finite.
    targets : TeacherTargets
        Of the same rows: ``targets[rows]`` for a batch of rows.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Scalar, or [...] for reduction "none"; the student's dtype, but at least float32. Targets
        keep weights in float32, so even a float64 loss is exact to 1e-7 only.

    Raises
    ------
    ValueError
        As in `losses.pld_loss`, and for student logits that are not finite.
    RuntimeError
        When a second derivative of the usual batch is asked for.
    """
    check_reduction(reduction)
    if not isinstance(targets, TeacherTargets):
        raise ValueError(
            f"targets must be TeacherTargets, got {type(targets).__name__}; "
            "make them with TeacherTargets.compute"
        )
    s, ranking, alpha = student_logits, targets.ranking, targets.weights
    if are_plain(s, alpha, ranking):
        found = _cached(s, ranking, alpha, reduction)
        if found is not None:
            return WithGradient.apply(s, found)[0]
    s = as_logits("student_logits", s)
    if ranking.shape != s.shape:
        raise ValueError(
            "student_logits and targets must have the same shape, got "
            f"{tuple(s.shape)} and {tuple(ranking.shape)}; "
            "take the rows of the batch with targets[rows]"
        )
    check_finite("student_logits", s)
    order = ranking.long() & 0xFFFF if ranking.dtype == torch.int16 else ranking.long()
    rows = (alpha[..., :-1] * choice_losses(s.gather(-1, order))).sum(dim=-1)
    return reduce_rows(rows, torch.ones_like(rows, dtype=torch.bool), reduction, student_logits)


def _cached(s: Tensor, ranking: Tensor, alpha: Tensor, reduction: str) -> LossAndGradient | None:
    """The reduced loss and its gradient; None for an unusual batch."""
    kernel = cuda_kernel(s)
    if kernel:
        return kernel.cached(s, ranking, alpha, reduction)
    if not s.is_cpu:
        return None
    order, alpha = ranking.numpy().reshape(-1, s.shape[-1]), alpha.reshape(-1, s.shape[-1])
    order = order.view(np.uint16) if order.itemsize == 2 else order

    def rank(block: slice) -> Ranked:
        return torch.from_numpy(order[block].astype(np.int64)), alpha[block]

    return along_rankings(s, rank, reduction)
