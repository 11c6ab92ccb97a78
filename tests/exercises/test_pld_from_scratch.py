"""Exercises 03: what the checks call right, found by other roads."""

from fractions import Fraction
from math import log
from typing import Any

import numpy as np
import pytest

from pld_edu import reference
from tests.support.exercises import accept, find, refuse


def test_bill_by_fractions() -> None:
    shares = [Fraction(4, 8), Fraction(1, 4), Fraction(2, 3), Fraction(1)]
    weights = [Fraction(w, 20) for w in (3, 10, 5, 2)]
    bill = -sum(float(w) * log(p) for w, p in zip(weights, shares, strict=True))
    assert find("03.1").right["bill"] == pytest.approx(bill)


def test_label_gradient_with_a_hundred_other_classes() -> None:
    s, t = (np.log([p, *[(1 - p) / 100] * 100]) for p in (0.8, 0.6))
    assert find("03.2").right["label_gradient"] == pytest.approx(reference.pld_gradient(s, t, 0)[0])


def test_ties_are_not_broken_by_luck() -> None:
    """NumPy's default sort of a few classes is stable, that of many is not."""

    def unstable(s: Any, t: Any, y: Any, temperature: float = 1.0) -> Any:
        key = -np.array(t)
        key[np.arange(len(y)), y] = -np.inf
        ranking = np.argsort(key)
        worths = np.exp((t - t.max(-1, keepdims=True)) / temperature)
        alpha = worths / worths.sum(-1, keepdims=True)
        z, alpha = (np.take_along_axis(x, ranking, -1) for x in (s, alpha))
        tails = np.logaddexp.accumulate(z[:, ::-1], axis=-1)[:, ::-1]
        return (alpha * (tails - z)).sum(-1).mean()

    def loss(s: Any, t: Any, y: Any, temperature: float = 1.0) -> Any:
        return reference.pld_loss(s, t, y, temperature=temperature)

    def gradient(s: Any, t: Any, y: Any, temperature: float = 1.0) -> Any:
        return reference.pld_gradient(s, t, y, temperature=temperature)

    accept("03.4", loss, gradient)
    refuse("03.4", unstable, gradient, mistake="other-ties")
