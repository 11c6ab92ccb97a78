"""``pld-edu distill`` on a few small images, for tests that need other processes: OUT.

Every step writes a checkpoint.
"""

import sys
from dataclasses import replace

from pld_edu import cli, data
from pld_edu.distill import train
from tests.support.small_images import SMALL_IMAGES, slice_of_cifar100

TINY_IMAGES = replace(SMALL_IMAGES, teacher="resnet8", methods=("ce", "pld"), temperatures=(4.0,))

if __name__ == "__main__":
    data.DATASETS["cifar100"] = slice_of_cifar100
    train.SECONDS_BETWEEN_CHECKPOINTS = -1
    cli.PRESETS["small"] = TINY_IMAGES
    sys.exit(cli.main(["distill", "--preset", "small", "--device", "cpu", "--out", sys.argv[1]]))
