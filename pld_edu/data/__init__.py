"""The data sets, as NumPy arrays: MNIST-1D made on the spot, CIFAR-100 downloaded once, a shipped
slice of it, and the NASCAR 2002 rankings.
"""

import csv
import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from . import cifar

MNIST1D_SEEDS = {"train": 0, "held_out": 1, "test": 2}


class Split(NamedTuple):
    """Inputs [N, ...], float32 or, if they are images, uint8; labels int64 [N]."""

    inputs: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """Train on `train`, choose on `held_out`, report on `test`."""

    train: Split
    held_out: Split
    test: Split


def mnist1d(train: int = 4000, held_out: int = 6000, test: int = 6000) -> Dataset:
    """MNIST-1D (Greydanus and Kobak 2024): ten digit shapes as noisy signals of length 40.

    Each split is generated from a seed of its own (0, 1, 2) by the package `mnist1d`, which also
    shifts and scales each split to mean 0 and deviation 1. NumPy's and Python's global random
    generators, which that package seeds, are put back as they were.

    Parameters
    ----------
    train, held_out, test : int
        Samples in each split, a positive multiple of 10: the classes are equally frequent.

    Returns
    -------
    Dataset
        Three splits of inputs float32 [N, 40] and labels int64 [N].

    Raises
    ------
    ValueError
        A number of samples that is not a positive multiple of 10.
    """
    sizes = {"train": train, "held_out": held_out, "test": test}
    for name, size in sizes.items():
        if size < 10 or size % 10:
            raise ValueError(
                f"{name} must be a positive multiple of 10 (ten equally frequent classes), "
                f"got {size}"
            )
    return Dataset(**{name: _mnist1d_split(n, MNIST1D_SEEDS[name]) for name, n in sizes.items()})


def cifar100(train: int = 45_000, held_out: int = 5_000, test: int = 10_000) -> Dataset:
    """CIFAR-100 (Krizhevsky 2009): photographs of 32x32 pixels in 100 classes.

    Comes from the cache of `pld_edu.cifar.load`, in an order that depends on the images alone. The
    held-out images are the last of the 50,000 for training, whatever `train` is.

    Parameters
    ----------
    train, held_out, test : int
        Images in each split: the first of the training set, its last, and the first of the test
        set. All are at least 1, `train` + `held_out` at most 50,000 and `test` at most 10,000.

    Returns
    -------
    Dataset
        Three splits of inputs uint8 [N, 32, 32, 3] and labels int64 [N].

    Raises
    ------
    ValueError
        Sizes that the data set cannot give.
    OSError
        The data set is not there and cannot be downloaded.
    """
    for name, size in (("train", train), ("held_out", held_out), ("test", test)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    if train + held_out > cifar.TRAIN:
        raise ValueError(
            f"train + held_out must be at most {cifar.TRAIN}, the training images of CIFAR-100, "
            f"got {train} + {held_out}; lower one of them"
        )
    if test > cifar.TEST:
        raise ValueError(f"test must be at most {cifar.TEST}, CIFAR-100's, got {test}")
    full = cifar.load()
    return Dataset(
        Split(full.train_images[:train], full.train_labels[:train]),
        Split(full.train_images[-held_out:], full.train_labels[-held_out:]),
        Split(full.test_images[:test], full.test_labels[:test]),
    )


def cifar100_slice() -> Split:
    """A thousand images of CIFAR-100, shipped without loss: ten of each class.

    They are among those that `cifar100` holds out by default, so no network trained by the
    defaults has seen them. `pld_edu.cifar.class_names` names the classes.

    Returns
    -------
    Split
        Inputs uint8 [1000, 32, 32, 3] and labels int64 [1000]; the labels run 0..99 ten times
        over, so every hundred images have one of each class.
    """
    return Split(*cifar.read_slice())


DATASETS = {"mnist1d": mnist1d, "cifar100": cifar100}


def nascar2002() -> list[list[str]]:
    """The 36 races of the 2002 NASCAR season (Hunter, Annals of Statistics 32(1), 2004).

    Returns
    -------
    list of 36 rankings
        Each the names of 43 drivers, winner first; 87 drivers took part in one race or more. Four
        of them (Andy Hillenburg, Gary Bradberry, Jason Hedlesky, Randy Renfrow) came last in
        every race they entered: no finite Plackett-Luce score fits them.
    """
    places: dict[int, dict[int, str]] = {}
    table = (files(__package__) / "nascar2002.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(table.splitlines()):
        places.setdefault(int(line["race"]), {})[int(line["position"])] = line["driver"]
    return [[race[place] for place in sorted(race)] for _, race in sorted(places.items())]


def _mnist1d_split(samples: int, seed: int) -> Split:
    with _global_generators_restored():
        from mnist1d.data import get_dataset_args, make_dataset

        arguments = get_dataset_args()
        arguments.num_samples, arguments.seed, arguments.train_split = samples, seed, 1.0
        made = make_dataset(arguments)
    return Split(made["x"].astype(np.float32), made["y"].astype(np.int64))


@contextmanager
def _global_generators_restored() -> Iterator[None]:
    """`mnist1d` seeds these two generators; whoever calls us may be in the middle of using them."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
