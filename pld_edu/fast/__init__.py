"""The PLD loss at the machine's speed."""

from .pld import PLDLoss, pld_loss
from .targets import TeacherTargets, pld_loss_from_targets

__all__ = ["PLDLoss", "TeacherTargets", "pld_loss", "pld_loss_from_targets"]
