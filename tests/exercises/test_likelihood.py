"""Exercises 02: what the checks call right, found by other roads."""

import numpy as np
import pytest

from pld_edu import reference
from tests.support.exercises import find, refuse


def test_gradient_by_the_reference() -> None:
    gradient = reference.log_likelihood_gradient(np.log([1, 1, 2]), [2, 0, 1])
    assert list(find("02.1").right.values()) == pytest.approx(list(gradient))


def test_duels_by_the_curvature_of_the_reference() -> None:
    information = reference.pld_hessian([0.0, 0.0], [0.0, 0.0], 0, weights="one-hot")[0, 0]
    assert find("02.4").right["duels"] == pytest.approx(1 / (information * 0.1**2))


def test_a_difference_quotient_is_right_to_a_few_digits_only() -> None:
    def quotient(scores: list[float], ranking: list[int]) -> np.ndarray:
        steps = 1e-5 * np.eye(len(scores))
        ahead = [reference.log_likelihood(scores + step, ranking) for step in steps]
        behind = [reference.log_likelihood(scores - step, ranking) for step in steps]
        return (np.array(ahead) - np.array(behind)) / 2e-5

    assert "Right to a few digits only" in refuse("02.2", quotient)
