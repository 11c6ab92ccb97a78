"""Exercises 02: what the checks call right, found by other roads."""

import numpy as np

from pld_edu import reference
from tests.support.exercises import accept, find, refuse


def test_bars_by_the_reference() -> None:
    bars = reference.log_likelihood_gradient(np.zeros(4), find("02.1").right["ranking"])
    accept("02.1", np.argsort(-bars), reference.log_likelihood_gradient(np.zeros(10), range(10))[0])


def test_a_difference_quotient_is_right_to_a_few_digits_only() -> None:
    def quotient(scores: list[float], ranking: list[int]) -> np.ndarray:
        steps = 1e-5 * np.eye(len(scores))
        ahead = [reference.log_likelihood(scores + step, ranking) for step in steps]
        behind = [reference.log_likelihood(scores - step, ranking) for step in steps]
        return (np.array(ahead) - np.array(behind)) / 2e-5

    assert "Right to a few digits only" in refuse("02.2", quotient)
