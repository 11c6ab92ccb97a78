import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from mnist1d.data import get_dataset_args, make_dataset

from pld_edu.data import mnist1d, nascar2002


@pytest.fixture(scope="module")
def small():
    return mnist1d(200, 100, 50)


def test_importing_data_imports_neither_torch_nor_mnist1d():
    code = "import sys, pld_edu.data; print([m for m in ('torch', 'mnist1d') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout == "[]\n", answer.stderr


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
    with pytest.raises(ValueError, match=rf"held_out must be a positive multiple of 10 .*{size}$"):
        mnist1d(held_out=size)


def test_nascar_has_36_races_of_43_among_87_drivers():
    rankings = nascar2002()
    assert [len(set(ranking)) for ranking in rankings] == [43] * 36
    assert len({driver for ranking in rankings for driver in ranking}) == 87


def test_nascar_orders_winner_first():
    first = nascar2002()[0]
    assert first[:3] == ["Ward Burton", "Elliott Sadler", "Geoffrey Bodine"]
    assert nascar2002()[-1][-1] == "Dave Blaney"


def test_four_drivers_came_last_in_every_race_they_entered():
    rankings = nascar2002()
    drivers = {driver for ranking in rankings for driver in ranking}
    last = {d for d in drivers if all(r[-1] == d for r in rankings if d in r)}
    assert last == {"Andy Hillenburg", "Gary Bradberry", "Jason Hedlesky", "Randy Renfrow"}
