"""Exercises 03: what the checks call right, found by other roads."""

from typing import Any

import numpy as np

from pld_edu import reference
from tests.support.exercises import accept, refuse


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

    accept("03.2", loss, gradient)
    refuse("03.2", unstable, gradient, mistake="other-ties")
