"""The weights alpha_k along a ranking, from the teacher's logits in rank order."""

import torch
from torch import Tensor


def by_rank(ranked: Tensor, temperature: float, name: str) -> Tensor:
    """The weights of `losses.rank_weights` that have a name.

    Parameters
    ----------
    ranked : Tensor [N, C]
        The teacher's logits in rank order.
    temperature : float
    name : {"teacher", "label", "one-hot", "uniform", "position"}

    Returns
    -------
    Tensor [N, C]
        float64, float32 on a device that has nothing wider.
    """
    dtype = widest(ranked)
    if name in ("teacher", "label"):
        # The label is on rank 0, the best of the others on rank 1. The division comes last: a tiny
        # temperature must not make infinities of both sides of the difference.
        best = ranked[:, :2].amax(dim=-1, keepdim=True)
        below = ranked.to(dtype, copy=True).sub_(best)
        alpha = (below if temperature == 1.0 else below.div_(temperature)).exp_()
        alpha /= alpha.sum(dim=-1, keepdim=True)
        if name == "label":
            alpha[:, 1:] = 0.0
        return alpha
    rows, classes = ranked.shape
    k = torch.arange(1, classes + 1, device=ranked.device, dtype=dtype)
    if name == "one-hot":
        alpha = (k == 1).to(dtype)
    elif name == "uniform" or classes == 1:
        alpha = torch.full_like(k, 1.0 / classes)
    else:
        alpha = torch.exp2(-k) - 2.0**-classes
        alpha /= alpha.sum()
    return alpha.expand(rows, classes)


def widest(like: Tensor) -> torch.dtype:
    """float64, or float32 on a device that has nothing wider."""
    return torch.float32 if like.device.type == "mps" else torch.float64
