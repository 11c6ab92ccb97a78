"""Exercises 01: what the checks call right, found by other roads."""

from typing import Any

import numpy as np
import pytest

from tests.support.exercises import accept, find, refuse


def test_the_cat_keeps_its_probability() -> None:
    three = np.exp([1.2, 0.4, 0.9])
    joint = np.exp([find("01.1").right["sled_dog"], 0.9])
    assert joint[1] / joint.sum() == pytest.approx(three[2] / three.sum())


def test_each_choice_needs_its_own_shift() -> None:
    def shifted_once(scores: Any, ranking: Any) -> Any:
        worths = np.exp(np.array(scores) - max(scores))[list(ranking)]
        return np.prod([worths[k] / worths[k:].sum() for k in range(len(worths))])

    refuse("01.2", shifted_once, mistake="one-shift-for-all")


def test_a_sampler_with_exponential_clocks_is_right() -> None:
    def sample(scores: Any, n: int, rng: np.random.Generator) -> Any:
        clocks = rng.exponential(size=(n, len(scores))) / np.exp(scores)
        return np.argsort(clocks, axis=1)  # the first to ring is chosen first

    accept("01.3", sample)


def test_another_model_is_told_with_counts() -> None:
    def gaussian(scores: Any, n: int, rng: np.random.Generator) -> Any:
        return np.argsort(-(scores + 0.3 * rng.normal(size=(n, len(scores)))), axis=1)

    message = refuse("01.3", gaussian)
    assert "These are not Plackett-Luce rankings" in message
    assert "(0, 1, 2, 3) came 17197 times, not 4776 times." in " ".join(message.split())
    assert "Each row must hold" in refuse("01.3", lambda s, n, rng: np.zeros((n, 4), int))
