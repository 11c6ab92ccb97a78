"""The numbers of `losses.pld_loss`, several times faster for the usual batch on a CPU or GPU.

`pld_loss` and `PLDLoss` take a live teacher; `TeacherTargets` ranks and weighs a frozen one once,
for `pld_loss_from_targets`. The gradient is computed with the loss, so a second derivative of the
usual batch is a RuntimeError. Everything unusual goes to `losses`, which can do it all:

- vmap and `torch.func`: their tensors look ordinary, so PyTorch is asked whether a transform is
  active; `torch.compile` says so itself;
- meta tensors by their device, fake tensors and other subclasses by their type;
- masked classes, NaN and infinities, because the smallest or the largest logit is not finite;
- student logits so far apart that their exponentials leave the range of float64;
- ignored rows and impossible labels, because a label is outside 0..C-1;
- weights other than "teacher", and no rows at all.

On CUDA values are not looked at. There one Triton kernel does it all, masks and ignored rows too,
up to 4,096 classes and where Triton is installed; other batches go to `losses`.
"""

from .pld import PLDLoss, pld_loss
from .targets import TeacherTargets, pld_loss_from_targets

__all__ = ["PLDLoss", "TeacherTargets", "pld_loss", "pld_loss_from_targets"]
