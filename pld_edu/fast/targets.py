"""What a frozen teacher says about a data set, ranked and weighed once and for all."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._files import write_atomically
from ..losses.validation import as_labels, check_finite, check_reduction, check_temperature
from .operator import from_targets
from .ordering import label_first
from .validation import check_logits, check_weights, checked_weights
from .weights import by_rank

SHORT = 2**16  # classes that a 16-bit index can tell apart
BLOCK = 2**20  # logits ranked at a time


class TeacherTargets:
    """Rankings and weights of a frozen teacher, computed once: a step then has no sort at all.

    A target belongs to one input as the teacher saw it. Where inputs are augmented at random, the
    teacher must be asked anew at every step, and `pld_loss` is the function to use.

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
    >>> targets[1].ranking.tolist()
    [2, 0, 1]
    >>> loss = pld_loss_from_targets(torch.tensor([[1.0, 2.0, 3.0]]), targets[:1])
    >>> round(loss.item(), 6)
    0.26204
    """

    def __init__(self, ranking: Tensor, weights: Tensor) -> None:
        self.ranking = ranking
        self.weights = weights

    @classmethod
    def compute(
        cls,
        teacher_logits: Tensor,
        labels: Tensor,
        *,
        temperature: float = 1.0,
        weights: str | Tensor = "teacher",
    ) -> TeacherTargets:
        """Rank and weigh every row.

        Parameters
        ----------
        teacher_logits : Tensor [..., C]
            Finite: masked classes need `pld_loss`.
        labels : integer Tensor [...]
            In 0..C-1; rows to be ignored are left out before.
        temperature : float
        weights : str or Tensor [..., C]
            See `losses.rank_weights`.

        Returns
        -------
        TeacherTargets
            Where the logits are.

        Raises
        ------
        ValueError
            Wrong types or shapes, a bad temperature or weights. On the CPU: values that are not
            finite, labels outside 0..C-1.
        """
        check_temperature(temperature)
        check_logits("teacher_logits", teacher_logits)
        y, _ = as_labels(labels, teacher_logits, ignore_index=None)
        check_weights(weights, teacher_logits)
        check_finite("teacher_logits", teacher_logits.detach())
        shape, classes = teacher_logits.shape, teacher_logits.shape[-1]
        t, y = teacher_logits.detach().reshape(-1, classes), y.reshape(-1)
        ranking = t.new_empty(t.shape, dtype=torch.int16 if classes <= SHORT else torch.int32)
        alpha = t.new_empty(t.shape, dtype=torch.float32)
        rows = max(1, BLOCK // classes)
        for block in (slice(start, start + rows) for start in range(0, len(t), rows)):
            logits = t[block] if t.dtype == torch.float64 else t[block].float()
            order = label_first(logits, y[block])
            ranking[block] = order
            if isinstance(weights, str):
                alpha[block] = by_rank(logits.gather(-1, order), temperature, weights)
        if not isinstance(weights, str):
            alpha = checked_weights(weights).reshape(t.shape).float()
        return cls(ranking.view(shape), alpha.view(shape))

    def __len__(self) -> int:
        return len(self.ranking)

    def __getitem__(self, rows: Any) -> TeacherTargets:
        """The targets of a row, a slice of rows, or the rows of an index tensor."""
        return TeacherTargets(self.ranking[rows], self.weights[rows])

    def to(self, device: torch.device | str) -> TeacherTargets:
        """The same targets on another device."""
        return TeacherTargets(self.ranking.to(device), self.weights.to(device))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the targets [N, C] to one file, which `load` can map into memory.

        It is a NumPy ``.npy`` file of N records: the weights, C float32, and beside them the
        ranking, C uint16 (uint32 beyond 65,536 classes); all little-endian, each record padded to
        a multiple of 4 bytes.

        Raises
        ------
        ValueError
            The targets are not [N, C].
        """
        if self.ranking.ndim != 2:
            raise ValueError(
                "targets are saved as rows [N, C], got a ranking of shape "
                f"{tuple(self.ranking.shape)}; flatten the leading axes first"
            )
        rows, classes = self.ranking.shape

        def write(unfinished: Path) -> None:
            records = np.lib.format.open_memmap(
                unfinished, mode="w+", dtype=_record(classes), shape=(rows,)
            )
            records["weights"] = self.weights.cpu().numpy()
            records["ranking"] = self.ranking.cpu().numpy().view(records["ranking"].dtype)
            records.flush()

        write_atomically(Path(path), write)

    @classmethod
    def load(cls, path: str | PathLike[str], *, mmap: bool = True) -> TeacherTargets:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or path-like
        mmap : bool
            Map the file into memory and read only the rows that are asked for; otherwise read all
            of it now.

        Raises
        ------
        ValueError
            Not such a file, or not all of it.
        """
        try:
            records = np.lib.format.open_memmap(path, mode="c")
        except ValueError as error:
            raise ValueError(_not_targets(path, str(error))) from error
        kind = records.dtype
        weights = kind.fields.get("weights") if kind.fields else None
        classes = weights[0].shape[0] if weights and weights[0].shape else 0
        if records.ndim != 1 or not classes or kind != _record(classes):
            raise ValueError(_not_targets(path, f"it holds {kind}, shape {records.shape}"))
        ranking, alpha = records["ranking"], records["weights"]
        ranking = ranking.view(np.int16 if classes <= SHORT else np.int32)
        if not mmap:
            ranking, alpha = ranking.copy(), alpha.copy()
        return cls(torch.from_numpy(ranking), torch.from_numpy(alpha))


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
        Wrong types, shapes that differ, a bad reduction, the mean of 0 rows. On the CPU: student
        logits that are not finite.
    RuntimeError
        When a second derivative is asked for.
    """
    check_reduction(reduction)
    check_logits("student_logits", student_logits)
    if not isinstance(targets, TeacherTargets):
        raise ValueError(
            f"targets must be TeacherTargets, got {type(targets).__name__}; "
            "make them with TeacherTargets.compute"
        )
    if targets.ranking.shape != student_logits.shape:
        raise ValueError(
            "student_logits and targets must have the same shape, got "
            f"{tuple(student_logits.shape)} and {tuple(targets.ranking.shape)}; "
            "take the rows of the batch with targets[rows]"
        )
    return from_targets(reduction, student_logits, targets.ranking, targets.weights)


def _record(classes: int) -> np.dtype:
    index = "<u2" if classes <= SHORT else "<u4"
    return np.dtype([("weights", "<f4", (classes,)), ("ranking", index, (classes,))], align=True)


def _not_targets(path: str | PathLike[str], found: str) -> str:
    return f"{path} is no whole file of TeacherTargets: {found}; write it with TeacherTargets.save"
