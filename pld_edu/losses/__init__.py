"""The losses in PyTorch: the names and arguments of `pld_edu.reference`, differentiable.

Every function takes any leading batch shape, computes in float64 where the device has it, and
returns float32 or better whatever the inputs or autocast say. The teacher is always detached.

Shapes, types and arguments are always checked. Values (NaN, infinities, label range, masked
classes) are checked where looking costs nothing: tensors on the CPU outside `torch.compile`, `vmap`
and meta or fake tensors. Elsewhere a NaN stays a NaN, and a label out of range fails in the
indexing kernel.
"""

from .baselines import (
    DISTLoss,
    DKDLoss,
    KDLoss,
    cross_entropy,
    dist_loss,
    dkd_loss,
    kd_loss,
    list_mle,
    position_list_mle,
)
from .plackett_luce import log_likelihood, log_likelihood_gradient
from .pld import PLDLoss, pld_gradient, pld_loss, rank_weights, teacher_ranking

__all__ = [
    "DISTLoss",
    "DKDLoss",
    "KDLoss",
    "PLDLoss",
    "cross_entropy",
    "dist_loss",
    "dkd_loss",
    "kd_loss",
    "list_mle",
    "log_likelihood",
    "log_likelihood_gradient",
    "pld_gradient",
    "pld_loss",
    "position_list_mle",
    "rank_weights",
    "teacher_ranking",
]
