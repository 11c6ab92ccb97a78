"""CIFAR's usual augmentation on whole batches, on any device: pad 4, random crop, random flip.

The image is normalised first and padded with zeros after: the border has the colour of the mean,
not black. (Many pipelines pad the raw image with black instead.) All randomness depends on seed,
epoch and step alone, so there is no generator state to keep, and every method sees the same views.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# Of the 50,000 training images of CIFAR-100, for pixels in 0..1, by channel.
MEAN = (0.5071, 0.4865, 0.4409)
STD = (0.2673, 0.2564, 0.2762)
PADDING = 4
OFFSETS = 2 * PADDING + 1  # 0..8 each way; 4 leaves the image where it was


class Views(NamedTuple):
    """Which view of each image: `offsets` int64 [N, 2], down and right; `flips` bool [N]."""

    offsets: Tensor
    flips: Tensor


def normalise(images: Tensor) -> Tensor:
    """Images uint8 [N, H, W, 3] as float32 [N, 3, H, W] in channels-last memory format.

    Each channel is shifted and scaled by the training set's mean and std. Images of another type or
    shape are a ValueError.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            "images must be uint8 [N, H, W, 3] with values 0..255, got "
            f"{images.dtype} {list(images.shape)}"
        )
    mean, std = (torch.tensor(c, device=images.device) for c in (MEAN, STD))
    return ((images / 255 - mean) / std).permute(0, 3, 1, 2)


def draw_views(seed: int, epoch: int, step: int, samples: int) -> Views:
    """Random views of a batch, on the CPU: offsets uniform on 0..8, flipped with chance 1/2."""
    # The 1 parts this stream from that of `train.batches`, since NumPy pads seeds with zeros.
    generator = np.random.default_rng([seed, epoch, step, 1])
    offsets = torch.from_numpy(generator.integers(OFFSETS, size=(samples, 2)))
    flips = torch.from_numpy(generator.integers(2, size=samples)).bool()
    return Views(offsets, flips)


def crop_and_flip(images: Tensor, views: Views) -> Tensor:
    """Pad with 4 zeros on each side, cut HxW at the offset, and mirror left to right where asked.

    From and to [N, C, H, W], the result in channels-last memory format. Views of another number of
    images are a ValueError.
    """
    samples, _, height, width = images.shape
    if len(views.offsets) != samples or len(views.flips) != samples:
        raise ValueError(
            f"{samples} images need as many views, got {len(views.offsets)} offsets and "
            f"{len(views.flips)} flips"
        )
    padded = F.pad(images, [PADDING] * 4).permute(0, 2, 3, 1)  # [N, H + 8, W + 8, C]
    row, column = (torch.arange(size, device=images.device) for size in (height, width))
    columns = torch.where(views.flips[:, None], column.flip(0), column)
    sample = torch.arange(samples, device=images.device)[:, None, None]
    rows = (views.offsets[:, :1] + row)[:, :, None]  # [N, H, 1]
    columns = (views.offsets[:, 1:] + columns)[:, None, :]  # [N, 1, W]
    return padded[sample, rows, columns].permute(0, 3, 1, 2)
