"""A batch in blocks of rows, so that little memory is used beside the gradient of the whole."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Logits in a block: on a CPU, at least and at most, for its arrays should fit the second-level
# cache, and a sixteenth of the batch is little; elsewhere, it should keep the device busy.
CPU_BLOCK = (2**15, 2**16)
DEVICE_BLOCK = 2**21
HALVES = (torch.float16, torch.bfloat16)


def blocks(like: Tensor, *tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """The same rows of each tensor [N, ...], block by block; half-precision values in float32.

    Parameters
    ----------
    like : Tensor [N, C]
        Its size and its device decide the size of a block.
    *tensors : Tensor [N, ...] or None
    """
    size = DEVICE_BLOCK
    if like.device.type == "cpu":
        least, most = CPU_BLOCK
        size = min(max(least, like.numel() // 16), most)
    rows = max(1, size // like.shape[1])
    if rows >= like.shape[0] > 0:
        yield tuple(_at_least_float32(z) for z in tensors)
        return
    for start in range(0, like.shape[0], rows):
        parts = (None if z is None else z[start : start + rows] for z in tensors)
        yield tuple(_at_least_float32(z) for z in parts)


def empty_gradient(s: Tensor) -> Tensor:
    """Room for the gradients [N, C] of rows of logits, in their dtype but at least float32."""
    return torch.empty(s.shape, dtype=torch.promote_types(s.dtype, torch.float32), device=s.device)


def _at_least_float32(z: Tensor | None) -> Tensor | None:
    return z.float() if z is not None and z.dtype in HALVES else z
