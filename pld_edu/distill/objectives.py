"""What a student minimises: the loss of its method, L(s, t, y) of student and teacher logits."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from .. import losses
from ..results.methods import METHODS, Setting

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

# DKD's authors let its distillation term rise over the first 20 of 240 epochs; here over the same
# share of the steps.
DKD_WARMUP = 20 / 240


def make_loss(setting: Setting, dkd_beta: float = 8.0) -> Loss:
    """The training loss of a setting: the class of `pld_edu.losses` that `METHODS` names."""
    name = METHODS[setting.method].loss
    if name is None or setting.temperature is None:
        return cross_entropy
    if name == "DKDLoss":
        return DKDWithWarmup(setting.temperature, dkd_beta)
    return getattr(losses, name)(temperature=setting.temperature)


def cross_entropy(student_logits: Tensor, _: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the label, called as the other losses are; the teacher has no say."""
    return losses.cross_entropy(student_logits, labels)


class DKDWithWarmup(nn.Module):
    """CE + warmup_factor * DKD: `losses.DKDLoss` with the warm-up of its authors' recipe.

    `set_progress` sets the factor, from 0 to 1, before each step; at first it is 1. It is a tensor,
    so that a captured CUDA graph sees it change.
    """

    warmup_factor: Tensor

    def __init__(self, temperature: float, beta: float = 8.0) -> None:
        super().__init__()
        self.temperature, self.beta = temperature, beta
        self.register_buffer("warmup_factor", torch.tensor(1.0))

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        decoupled = losses.dkd_loss(
            student_logits, teacher_logits, labels, temperature=self.temperature, beta=self.beta
        )
        return losses.cross_entropy(student_logits, labels) + self.warmup_factor * decoupled


class StackedLoss(nn.Module):
    """M losses for a `Stack` of M * R students: R for each, of which student r sees batch r."""

    def __init__(self, student_losses: Sequence[Loss]) -> None:
        super().__init__()
        # DIST is one value for a whole batch, so no loss may see two students at a time.
        self.each = [torch.vmap(loss) for loss in student_losses]
        # Modules among them are known as such, so that `set_progress` and `to` reach them.
        self.parts = nn.ModuleList(loss for loss in student_losses if isinstance(loss, nn.Module))

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Values [M * R] of logits [M * R, N, C], teacher logits [R, N, C] and labels [R, N]."""
        own = zip(self.each, student_logits.unflatten(0, (len(self.each), -1)), strict=True)
        return torch.cat([loss(logits, teacher_logits, labels) for loss, logits in own])


def set_progress(training_losses: Iterable[Loss], done: float) -> None:
    """Tell the losses that warm up which share of the training, 0 to 1, is done."""
    for loss in training_losses:
        for part in loss.modules() if isinstance(loss, nn.Module) else ():
            if isinstance(part, DKDWithWarmup):
                part.warmup_factor.fill_(min(1.0, done / DKD_WARMUP))
