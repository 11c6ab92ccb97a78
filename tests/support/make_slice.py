"""How the slice of CIFAR-100 in ``pld_edu/data`` was made: needs the full set and Pillow.

``python -c 'from tests.support.make_slice import write_slice; write_slice("pld_edu/data")'``
"""

from pathlib import Path

import numpy as np
from PIL import Image

from pld_edu.data import cifar

PER_CLASS = 10


def write_slice(folder: Path | str) -> None:
    """Write a lossless mosaic with one row of ten images per class, and the class names.

    The images are the first ten of each class among the last 5,000 training images, which
    `pld_edu.data.cifar100` holds out by default.
    """
    images, labels = (array[-5000:] for array in cifar.load()[0])
    rows = [images[labels == label][:PER_CLASS] for label in range(100)]
    mosaic = np.stack(rows).transpose(0, 2, 1, 3, 4).reshape(100 * 32, -1, 3)
    Image.fromarray(mosaic).save(Path(folder) / "cifar100_slice.webp", lossless=True, method=6)
    names = "".join(f"{name}\n" for name in np.load(cifar.cache_file())["class_names"])
    (Path(folder) / "cifar100_classes.txt").write_text(names, encoding="utf-8")
