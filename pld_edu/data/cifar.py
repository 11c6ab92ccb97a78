"""CIFAR-100: the full set in a cache on disk, and a slice of 1,000 images that comes with pld_edu.

Data: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import hashlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from .. import needs_extra
from .._files import write_atomically
from .splits import DataError, Dataset, Split

TRAIN, TEST, CLASSES, SIDE = 50_000, 10_000, 100, 32


def cifar100(train: int = 45_000, held_out: int = 5_000, test: int = 10_000) -> Dataset:
    """CIFAR-100: photographs uint8 [N, 32, 32, 3] in the order of their SHA-1, labels int64 [N].

    Comes from ``$PLD_EDU_DATA/cifar100.npz`` (``~/.cache/pld-edu`` without that variable). If that
    file is not there, torchvision downloads the data (169 MB) and the file is written; if it is
    damaged or has other contents, a UserWarning says so and it is written anew.

    Parameters
    ----------
    train, held_out, test : int
        Images in each split: the first of the 50,000 for training, the last of them, and the
        first of the 10,000 for testing.

    Raises
    ------
    DataError
        A split would be empty, or has more images than there are. Or the download failed; the
        message says which file to put where by hand.
    """
    if min(train, held_out, test) < 1 or train + held_out > TRAIN or test > TEST:
        raise DataError(
            f"train, held_out and test must be at least 1, train + held_out at most {TRAIN} and "
            f"test at most {TEST}, got {train}, {held_out} and {test}"
        )
    for_training, for_testing = load()
    return Dataset(
        Split(*(array[:train] for array in for_training)),
        Split(*(array[-held_out:] for array in for_training)),
        Split(*(array[:test] for array in for_testing)),
    )


def cifar100_slice() -> Split:
    """A thousand images of CIFAR-100, uint8 [1000, 32, 32, 3], shipped without loss.

    They are the first ten of each class among those that `cifar100` holds out by default, so no
    network trained by the defaults has seen them. The labels run 0..99 ten times.
    """
    with needs_extra("distill"):
        from PIL import Image
    with (files(__package__) / "cifar100_slice.webp").open("rb") as file:
        mosaic = np.asarray(Image.open(file).convert("RGB"))
    tiles = mosaic.reshape(CLASSES, SIDE, 10, SIDE, 3).transpose(2, 0, 1, 3, 4)
    return Split(tiles.reshape(-1, SIDE, SIDE, 3), np.tile(np.arange(CLASSES), 10))


def split_slice(train: int = 640, held_out: int = 160, test: int = 200) -> Dataset:
    """The shipped slice in three parts, one after the other: for trials without a download."""
    images, labels = cifar100_slice()
    if min(train, held_out, test) < 1 or train + held_out + test > len(labels):
        sizes = f"{train}, {held_out} and {test}"
        raise DataError(f"the slice has {len(labels)} images for three parts, got {sizes}")
    ends = train, train + held_out, train + held_out + test
    places = [slice(*ends) for ends in zip((0, *ends), ends, strict=False)]
    return Dataset(*(Split(images[place], labels[place]) for place in places))


def class_names() -> tuple[str, ...]:
    """The 100 classes in the order of their labels, ``apple`` to ``worm``."""
    return tuple((files(__package__) / "cifar100_classes.txt").read_text(encoding="utf-8").split())


def cache_file() -> Path:
    """``$PLD_EDU_DATA/cifar100.npz``; without that variable in ``~/.cache/pld-edu``."""
    folder = os.environ.get("PLD_EDU_DATA") or "~/.cache/pld-edu"
    return Path(folder).expanduser() / "cifar100.npz"


def load() -> tuple[Split, Split]:
    """The training and the test set, cached and ordered as `cifar100` says."""
    path = cache_file()
    if path.exists():
        try:
            return _read(path)
        except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            warnings.warn(f"{path} is damaged ({error}); writing it anew", stacklevel=2)
    write_atomically(path, lambda unfinished: np.savez(unfinished, **_download(path.parent)))
    return _read(path)


def _read(path: Path) -> tuple[Split, Split]:
    with np.load(path) as stored:
        if (shape := stored["class_names"].shape) != (CLASSES,):
            raise ValueError(f"class_names is {list(shape)} instead of [{CLASSES}]")
        return _read_split(stored, "train", TRAIN), _read_split(stored, "test", TEST)


def _read_split(stored: Mapping[str, np.ndarray], name: str, size: int) -> Split:
    """Sorted by SHA-1 of the pixels; a few images are in the set twice, those by label."""
    images, labels = stored[f"{name}_images"], stored[f"{name}_labels"]
    for what, found, wanted in (
        ("images", list(images.shape), [size, SIDE, SIDE, 3]),
        ("images", images.dtype, np.dtype(np.uint8)),
        ("labels", list(labels.shape), [size]),
    ):
        if found != wanted:
            raise ValueError(f"{name}_{what} is {found} instead of {wanted}")
    if not np.isin(labels, np.arange(CLASSES)).all():
        raise ValueError(f"{name}_labels has values other than 0..{CLASSES - 1}")
    digests = [hashlib.sha1(image).digest() for image in np.ascontiguousarray(images)]
    order = sorted(range(len(images)), key=lambda place: (digests[place], labels[place]))
    return Split(images[order], labels[order].astype(np.int64))


def _download(folder: Path) -> dict[str, Any]:
    with needs_extra("distill"):
        from torchvision.datasets import CIFAR100

    try:
        folder.mkdir(parents=True, exist_ok=True)
        train, test = (CIFAR100(folder, train=which, download=True) for which in (True, False))
    except (OSError, RuntimeError, EOFError) as error:
        raise DataError(
            f"CIFAR-100 could not be downloaded ({error}). Fetch {CIFAR100.url} in any other way "
            f"and put it into {folder}, or copy a cifar100.npz from another machine to there; "
            "PLD_EDU_DATA names another folder. Without a network pld_edu.data.cifar100_slice() "
            "has 1,000 images, and the data set mnist1d needs none at all."
        ) from error
    return {
        "train_images": train.data,
        "train_labels": np.array(train.targets),
        "test_images": test.data,
        "test_labels": np.array(test.targets),
        "class_names": np.array(train.classes),
    }
