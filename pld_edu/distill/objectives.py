"""What each method minimises: its training loss, by name."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .. import losses
from ..results.methods import METHODS, Setting

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

# DKD's authors let its distillation term rise over the first 20 of 240 epochs; here over the same
# share of the steps.
DKD_WARM_UP = 20 / 240


def make_loss(setting: Setting) -> Loss:
    """The training loss of a setting, called ``(student_logits, teacher_logits, labels)``."""
    if setting.temperature is None:
        return lambda student_logits, _, labels: losses.cross_entropy(student_logits, labels)
    module = getattr(losses, METHODS[setting.method].loss or "")
    return module(temperature=setting.temperature)


class WarmingDKD(nn.Module):
    """`losses.DKDLoss` whose distillation term counts only as much as training has warmed up.

    Attributes
    ----------
    warmth : Tensor
        Scalar, from 0 to 1, set before each step; a tensor, so that a recorded CUDA graph sees it.
    """

    warmth: Tensor

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("warmth", torch.tensor(1.0))

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        decoupled = losses.dkd_loss(
            student_logits, teacher_logits, labels, temperature=self.temperature
        )
        return losses.cross_entropy(student_logits, labels) + self.warmth * decoupled


def warming_loss(setting: Setting, device: torch.device) -> Loss:
    """As `make_loss`, but DKD warms up when told to by `set_warmth`."""
    if setting.method == "dkd" and setting.temperature is not None:
        return WarmingDKD(setting.temperature).to(device)
    return make_loss(setting)


def set_warmth(training_losses: Iterable[Loss], done: float) -> None:
    """Tell those that warm up which share of the training, 0 to 1, is done."""
    for loss in training_losses:
        if isinstance(loss, WarmingDKD):
            loss.warmth.fill_(min(1.0, done / DKD_WARM_UP))
