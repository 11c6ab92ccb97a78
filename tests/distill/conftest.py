"""Small experiments, finished, and what a training needs; no test here downloads anything."""

import pytest

from pld_edu import data
from pld_edu.distill import run as distill
from pld_edu.distill.networks import build
from pld_edu.distill.train import to_device
from tests.support.small_images import SMALL_IMAGES, slice_of_cifar100
from tests.support.small_run import SMALL

EXPERIMENTS = {"mnist1d": SMALL, "images": SMALL_IMAGES}
METHODS = {"mnist1d": ("kd", "dist", "pld"), "images": ("dist", "dkd", "pld")}


@pytest.fixture(scope="module", autouse=True)
def images():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.DATASETS, "cifar100", slice_of_cifar100)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Both experiments, finished."""
    return {
        name: distill.run(experiment, tmp_path_factory.mktemp(name), progress=False, device="cpu")
        for name, experiment in EXPERIMENTS.items()
    }


@pytest.fixture(scope="module")
def splits():
    return [to_device(split, "cpu") for split in slice_of_cifar100(48, 20, 40)]


@pytest.fixture(scope="module")
def teacher():
    return build("resnet8", 7).eval().requires_grad_(False)
