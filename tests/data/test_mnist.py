import random
import sys

import numpy as np
import pytest
import torch
from mnist1d.data import get_dataset_args, make_dataset

from pld_edu.data import mnist1d


@pytest.fixture(scope="module")
def small():
    return mnist1d(200, 100, 50)


def test_shapes_dtypes_and_equally_frequent_classes(small):
    for split, size in zip(small, (200, 100, 50), strict=True):
        assert split.inputs.shape == (size, 40)
        assert split.inputs.dtype == np.float32
        assert split.labels.dtype == np.int64
        assert np.bincount(split.labels).tolist() == [size // 10] * 10


def test_a_split_is_what_the_package_makes_of_its_seed(small):
    arguments = get_dataset_args()
    arguments.num_samples, arguments.seed = 125, 2  # its default keeps 80% for training
    made = make_dataset(arguments)
    assert made["x"].shape == (96, 40)
    arguments.num_samples, arguments.train_split = 50, 1.0
    made = make_dataset(arguments)
    np.testing.assert_array_equal(small.test.inputs, made["x"].astype(np.float32))
    np.testing.assert_array_equal(small.test.labels, made["y"])


def test_another_draw_has_other_samples_in_every_split(small):
    other = mnist1d(200, 100, 50, draw=1)
    rows = np.concatenate([split.inputs for split in (*small, *other)])
    assert len(np.unique(rows, axis=0)) == 700
    np.testing.assert_array_equal(mnist1d(200, 100, 50, draw=0).test.inputs, small.test.inputs)
    with pytest.raises(ValueError, match="counted from 0, got draw -1"):
        mnist1d(draw=-1)


def test_reproducible(small):
    for split, again in zip(small, mnist1d(200, 100, 50), strict=True):
        np.testing.assert_array_equal(split.inputs, again.inputs)
        np.testing.assert_array_equal(split.labels, again.labels)


def test_no_sample_is_in_two_splits():
    splits = mnist1d(200, 200, 200)
    rows = np.concatenate([split.inputs for split in splits])
    assert len(np.unique(rows, axis=0)) == 600


def test_global_generators_go_on_as_if_nothing_had_happened():
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    mnist1d(10, 10, 10)
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected  # noqa: NPY002


@pytest.mark.parametrize("size", [0, 15, -10])
def test_sizes_that_cannot_be_shared_by_ten_classes(size):
    with pytest.raises(
        ValueError, match=rf"positive multiples of 10 .*, got 4000, {size} and 6000$"
    ):
        mnist1d(held_out=size)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(ImportError, match=r'mnist1d.*; pip install "pld_edu\[distill\]" brings'):
        mnist1d()
