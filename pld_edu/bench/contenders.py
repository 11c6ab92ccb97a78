"""Losses by name: from a batch to one forward and backward pass over it.

What may be computed once for a frozen teacher is computed while a contender is prepared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import fast, losses
from ..fast import triton_kernel

TEMPERATURE = 4.0

Pass = Callable[[], Any]


@dataclass(frozen=True)
class ForwardAndBackward:
    """A pass in two halves: what the first returns, the second is given."""

    forward: Callable[[], Any]
    backward: Callable[[Any], Any]

    def __call__(self) -> Any:
        return self.backward(self.forward())


class Batch(NamedTuple):
    """Student logits [B, C] that ask for a gradient, teacher logits [B, C], labels [B]."""

    student: Tensor
    teacher: Tensor
    labels: Tensor


def random_batch(shape: tuple[int, int], device: str = "cpu", dtype=torch.float32) -> Batch:
    """Normal logits, the student's of scale 1 and the teacher's of scale 3; the same each time."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(shape, generator=generator) * scale for scale in (1.0, 3.0))
    labels = torch.randint(shape[1], shape[:1], generator=generator)
    student, teacher = (z.to(device, dtype) for z in (student, teacher))
    return Batch(student.requires_grad_(), teacher, labels.to(device))


def listing(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """PLD as the paper's listing (App. C) does it.

    Sort the teacher ascending, drop the label by a mask, append it last, gather, and let
    logcumsumexp run up: over an ascending order it is the tail sum of the descending one.
    """
    rows, classes = teacher.shape
    order = teacher.argsort(dim=1)
    others = order[order != labels[:, None]].view(rows, classes - 1)
    order = torch.cat([others, labels[:, None]], dim=1)
    s, t = student.gather(1, order), teacher.gather(1, order)
    return ((s.logcumsumexp(1) - s) * (t / TEMPERATURE).softmax(1)).sum(1).mean()


def plain_kd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """KD as most people write it, in the dtype of the logits."""
    log_q, p = (student / TEMPERATURE).log_softmax(1), (teacher / TEMPERATURE).softmax(1)
    return F.kl_div(log_q, p, reduction="batchmean") * TEMPERATURE**2


def _cross_entropy(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(student, labels)


def _kd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    return losses.kd_loss(student, teacher, temperature=TEMPERATURE)


def _dist(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    return losses.dist_loss(student, teacher, temperature=TEMPERATURE)


def _dkd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    return losses.dkd_loss(student, teacher, labels, temperature=TEMPERATURE)


def _losses(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    return losses.pld_loss(student, teacher, labels, temperature=TEMPERATURE)


def _fast(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    return fast.pld_loss(student, teacher, labels, temperature=TEMPERATURE)


def differentiated(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Batch], Pass]:
    """A contender from a loss ``(student, teacher, labels)`` and autograd."""

    def prepare(batch: Batch) -> Pass:
        return _with_autograd(lambda: loss(*batch), batch)

    return prepare


def _with_autograd(forward: Callable[[], Tensor], batch: Batch) -> Pass:
    return ForwardAndBackward(forward, lambda loss: torch.autograd.grad(loss, batch.student)[0])


def _cached(batch: Batch) -> Pass:
    targets = fast.TeacherTargets.compute(batch.teacher, batch.labels, temperature=TEMPERATURE)
    return _with_autograd(lambda: fast.pld_loss_from_targets(batch.student, targets), batch)


def _kernel(batch: Batch) -> Pass:
    """The fused kernel alone: no checks, no autograd, the gradient of the sum."""

    def forward_and_backward() -> Tensor:
        return triton_kernel.pld_rows_and_gradient(*batch, TEMPERATURE, "teacher")[1]

    return forward_and_backward


CONTENDERS: dict[str, Callable[[Batch], Pass]] = {
    "cross-entropy": differentiated(_cross_entropy),
    "KD, plain float32": differentiated(plain_kd),
    "KD": differentiated(_kd),
    "DIST": differentiated(_dist),
    "DKD": differentiated(_dkd),
    "listing": differentiated(listing),
    "losses": differentiated(_losses),
    "fast": differentiated(_fast),
    "fast, cached targets": _cached,
    "fused kernel": _kernel,
}
