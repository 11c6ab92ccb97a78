"""The PLD loss at the machine's speed: the numbers of `losses.pld_loss`, without autograd.

`pld_loss` and `PLDLoss` take a live teacher; `TeacherTargets` ranks and weighs a frozen one once,
for `pld_loss_from_targets`. The gradient is worked out with the loss, so there is no second
derivative. On the CPU every value is checked, under `torch.compile` and `vmap` too. On CUDA one
Triton kernel does it all, up to 4,096 classes and where Triton is installed; all else is plain
PyTorch.
"""

from .pld import PLDLoss, pld_loss
from .targets import TeacherTargets, pld_loss_from_targets

__all__ = ["PLDLoss", "TeacherTargets", "pld_loss", "pld_loss_from_targets"]
