"""How a data set is divided."""

from typing import NamedTuple

import numpy as np


class DataError(OSError, ValueError):
    """A data set cannot be had: of these sizes, or since its download failed."""


class Split(NamedTuple):
    """Inputs [N, ...], float32 or, if they are images, uint8; labels int64 [N]."""

    inputs: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """Train on `train`, choose on `held_out`, report on `test`."""

    train: Split
    held_out: Split
    test: Split
