import math

import numpy as np
import pytest
import torch
from torch import nn

from pld_edu._files import write_atomically
from pld_edu.distill.experiment import Recipe
from pld_edu.distill.training import batches, fit


def test_batches_are_a_permutation_without_its_remainder():
    found = batches(seed=3, epoch=5, samples=23, batch_size=5)
    assert found.shape == (4, 5)
    assert len(np.unique(found)) == 20
    assert set(found.ravel()) <= set(range(23))


def test_batches_depend_on_seed_and_epoch_and_on_nothing_else():
    np.testing.assert_array_equal(batches(3, 5, 20, 5), batches(3, 5, 20, 5))
    assert not np.array_equal(batches(3, 5, 20, 5), batches(4, 5, 20, 5))
    assert not np.array_equal(batches(3, 5, 20, 5), batches(3, 6, 20, 5))


def test_the_learning_rate_falls_along_half_a_cosine(tmp_path):
    # With betas that cancel, AdamW moves a weight with a constant gradient by -lr in each step.
    model = nn.Linear(1, 1, bias=False).double()
    places = [model.weight.item()]

    def epoch_losses(epoch):
        for _ in range(3):
            yield model.weight.sum()
            places.append(model.weight.item())

    recipe = Recipe(epochs=2, batch_size=1, learning_rate=0.1, weight_decay=0.0)
    fit(model, epoch_losses, recipe, 3, tmp_path / "checkpoint", progress=False)
    expected = [0.1 * 0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert -np.diff(places) == pytest.approx(expected, rel=1e-6)


def test_a_finished_checkpoint_is_only_loaded(tmp_path):
    recipe = Recipe(epochs=2, batch_size=1, learning_rate=0.1, weight_decay=0.0)
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)

    def fit_it(model):
        return fit(
            model,
            lambda epoch: iter([model.weight.sum()]),
            recipe,
            1,
            tmp_path / "checkpoint",
            after_epoch=lambda: {"weight": model.weight.item()},
            progress=False,
        )

    history, seconds = fit_it(first)
    assert [line["epoch"] for line in history] == [1, 2]
    assert history[-1]["weight"] == first.weight.item()
    assert fit_it(second) == (history, seconds)
    assert torch.equal(first.weight, second.weight)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda unfinished: unfinished.write_text("old"))

    def fails(unfinished):
        unfinished.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fails)
    assert path.read_text() == "old"
