"""MNIST-1D. A file called ``mnist1d.py`` would be hidden by the function `pld_edu.data.mnist1d`."""

import random

import numpy as np

from .. import needs_extra
from .splits import DataError, Dataset, Split


def mnist1d(train: int = 4000, held_out: int = 6000, test: int = 6000, *, draw: int = 0) -> Dataset:
    """MNIST-1D (Greydanus and Kobak 2024): ten digit shapes as noisy signals of length 40.

    Each split is generated from a seed of its own by the package `mnist1d`, which also shifts and
    scales each split to mean 0 and std 1: inputs float32 [N, 40], labels int64 [N].

    Parameters
    ----------
    train, held_out, test : int
        Samples in each split, a positive multiple of 10, since the ten classes are equally
        frequent; anything else is a DataError.
    draw : int
        Another draw has other samples; the seeds of the splits are 3 draw, 3 draw + 1, 3 draw + 2.
    """
    sizes = train, held_out, test
    if any(size < 10 or size % 10 for size in sizes):
        raise DataError(
            "train, held_out and test must be positive multiples of 10 (ten equally frequent "
            f"classes), got {train}, {held_out} and {test}"
        )
    if draw < 0:
        raise ValueError(f"draws are counted from 0, got draw {draw}")
    return Dataset(*(_generate(size, seed) for seed, size in enumerate(sizes, 3 * draw)))


def _generate(samples: int, seed: int) -> Split:
    with needs_extra("distill"):
        from mnist1d.data import get_dataset_args, make_dataset

    arguments = get_dataset_args()
    arguments.num_samples, arguments.seed, arguments.train_split = samples, seed, 1.0
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        made = make_dataset(arguments)
    finally:  # it seeds both global generators, and the caller may be using them
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
    return Split(made["x"].astype(np.float32), made["y"].astype(np.int64))
