"""Exercises 00: what the checks call right, found by other roads."""

import numpy as np
import pytest
from scipy.optimize import minimize

from pld_edu import reference
from tests.support.exercises import accept, find, refuse

TEACHER, DOG = np.log([1, 2, 3, 4]), 2


def test_bill_is_that_of_a_student() -> None:
    student = np.log([3, 12, 20, 5])  # car, cat, dog, fox: shares 1/2, 1/4, 4/5, 1
    assert find("00.1").right["bill"] == pytest.approx(reference.pld_loss(student, TEACHER, DOG))


def test_budget_can_be_met_but_not_by_much() -> None:
    best = minimize(
        lambda s: reference.pld_loss(s, TEACHER, DOG), np.zeros(4), bounds=[(-2.0, 2.0)] * 4
    )
    assert 0.235 < best.fun < 0.24
    accept("00.3", best.x)
    assert "The bill is 0.2680." in refuse("00.3", [-2, -1.5, 2, 0])
    assert "outside -2 to 2" in refuse("00.3", [-9, -3, 9, 3])
    assert "Hand in four logits" in refuse("00.3", [1, 2, 3])
