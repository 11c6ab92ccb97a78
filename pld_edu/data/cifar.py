"""CIFAR-100 on disk: the cached full set, and the slice of 1,000 images that comes with pld_edu.

Data: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import hashlib
import os
import warnings
import zipfile
import zlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._files import write_atomically

TRAIN, TEST, CLASSES, SIDE = 50_000, 10_000, 100, 32
SLICE_PER_CLASS = 10


class Cifar100(NamedTuple):
    """Images uint8 [N, 32, 32, 3], labels int64 [N] of 0..99, and 100 class names."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: np.ndarray


def cache_file() -> Path:
    """``$PLD_EDU_DATA/cifar100.npz``; without that variable in ``~/.cache/pld-edu``."""
    folder = os.environ.get("PLD_EDU_DATA") or "~/.cache/pld-edu"
    return Path(folder).expanduser() / "cifar100.npz"


def load() -> Cifar100:
    """All of CIFAR-100, from the cache; the first time torchvision downloads it (169 MB).

    Both sets are put in an order that depends on the images alone (that of their SHA-1), so the
    first 10,000 are the same images whoever wrote the cache.

    Returns
    -------
    Cifar100
        50,000 training and 10,000 test images.

    Warns
    -----
    UserWarning
        The cache was damaged or had other contents, and is written anew.

    Raises
    ------
    OSError
        The download failed; the message says which file to put where by hand.
    """
    path = cache_file()
    if path.exists():
        try:
            return _ordered(_read(path))
        except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            warnings.warn(f"{path} is damaged ({error}); writing it anew", stacklevel=2)
    _write(path, _download(path.parent))
    return _ordered(_read(path))


@cache
def class_names() -> tuple[str, ...]:
    """The 100 classes in the order of their labels, ``apple`` to ``worm``."""
    text = (files(__package__) / "cifar100_classes.txt").read_text(encoding="utf-8")
    return tuple(text.split())


def read_slice() -> tuple[np.ndarray, np.ndarray]:
    """The shipped slice: images uint8 [1000, 32, 32, 3] and labels int64 [1000].

    Labels run 0..99 ten times over, so every hundred images have one of each class.
    """
    from PIL import Image  # what else is here needs only NumPy

    with (files(__package__) / "cifar100_slice.webp").open("rb") as file:
        mosaic = np.asarray(Image.open(file).convert("RGB"))
    tiles = mosaic.reshape(CLASSES, SIDE, SLICE_PER_CLASS, SIDE, 3).transpose(2, 0, 1, 3, 4)
    labels = np.tile(np.arange(CLASSES), SLICE_PER_CLASS)
    return np.ascontiguousarray(tiles.reshape(-1, SIDE, SIDE, 3)), labels


def write_slice(folder: Path | str) -> None:
    """Make the slice's two files from the full set: ``python -c`` is enough to run it.

    ``from pld_edu.data import cifar; cifar.write_slice("pld_edu/data")`` writes a lossless mosaic,
    one row a class, and the class names. The images are the first ten of each class among the
    last 5,000 training images, which `pld_edu.data.cifar100` holds out unless told otherwise: a
    network trained by its defaults has not seen them.
    """
    from PIL import Image

    full = load()
    images, labels = full.train_images[-5000:], full.train_labels[-5000:]
    rows = [images[labels == label][:SLICE_PER_CLASS] for label in range(CLASSES)]
    mosaic = np.stack(rows).transpose(0, 2, 1, 3, 4).reshape(CLASSES * SIDE, -1, 3)
    Image.fromarray(mosaic).save(Path(folder) / "cifar100_slice.webp", lossless=True, method=6)
    names = "".join(f"{name}\n" for name in full.class_names)
    (Path(folder) / "cifar100_classes.txt").write_text(names, encoding="utf-8")


def _read(path: Path) -> Cifar100:
    with np.load(path) as stored:
        full = Cifar100(*(stored[name] for name in Cifar100._fields))
    wanted = {
        "train_images": (TRAIN, SIDE, SIDE, 3),
        "train_labels": (TRAIN,),
        "test_images": (TEST, SIDE, SIDE, 3),
        "test_labels": (TEST,),
        "class_names": (CLASSES,),
    }
    for name, shape in wanted.items():
        values = getattr(full, name)
        if values.shape != shape:
            raise ValueError(f"{name} is {list(values.shape)} instead of {list(shape)}")
        if name.endswith("images") and values.dtype != np.uint8:
            raise ValueError(f"{name} is {values.dtype} instead of uint8")
        if name.endswith("labels") and not np.isin(values, np.arange(CLASSES)).all():
            raise ValueError(f"{name} has values other than 0..{CLASSES - 1}")
    return full


def _ordered(full: Cifar100) -> Cifar100:
    train = _order(full.train_images, full.train_labels)
    test = _order(full.test_images, full.test_labels)
    return Cifar100(
        full.train_images[train],
        full.train_labels[train].astype(np.int64),
        full.test_images[test],
        full.test_labels[test].astype(np.int64),
        full.class_names,
    )


def _order(images: np.ndarray, labels: np.ndarray) -> list[int]:
    """By SHA-1 of the pixels; a few images are in the set twice, those by label."""
    digests = [hashlib.sha1(image).digest() for image in np.ascontiguousarray(images)]
    return sorted(range(len(images)), key=lambda place: (digests[place], labels[place]))


def _download(folder: Path) -> Cifar100:
    from torchvision.datasets import CIFAR100

    try:
        folder.mkdir(parents=True, exist_ok=True)
        train = CIFAR100(folder, train=True, download=True)
        test = CIFAR100(folder, train=False, download=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise OSError(
            f"CIFAR-100 could not be downloaded ({error}). Fetch {CIFAR100.url} in any other way "
            f"and put it into {folder}, or copy a cifar100.npz from another machine to there; "
            "PLD_EDU_DATA names another folder. Without a network pld_edu.data.cifar100_slice() "
            "has 1,000 images, and the data set mnist1d needs none at all."
        ) from error
    return Cifar100(
        train.data,
        np.array(train.targets),
        test.data,
        np.array(test.targets),
        np.array(train.classes),
    )


def _write(path: Path, full: Cifar100) -> None:

    write_atomically(path, lambda unfinished: np.savez(unfinished, **full._asdict()))
