"""``pld-edu distill`` on the small images in float64, for tests that need several processes: OUT.

In float64, because a few steps blow rounding up: in float32 two orders of summation end 1e-2 apart.
"""

import sys
from dataclasses import replace

from torch import Tensor

from pld_edu import cli, data
from pld_edu.distill import images as distill_images
from pld_edu.distill import train as together
from pld_edu.distill.augment import normalise
from pld_edu.distill.models import build
from tests.support.small_images import SMALL_IMAGES, slice_of_cifar100


def in_float64(images: Tensor) -> Tensor:
    return normalise(images).double()


if __name__ == "__main__":
    data.DATASETS["cifar100"] = slice_of_cifar100
    cli.PRESETS["small"] = replace(SMALL_IMAGES, temperatures=(4.0,), seeds=1)
    together.normalise = in_float64
    distill_images.build = lambda name, seed: build(name, seed).double()
    distill_images.latency = distill_images.throughput = lambda *_: {}
    sys.exit(cli.main(["distill", "--preset", "small", "--device", "cpu", "--out", sys.argv[1]]))
