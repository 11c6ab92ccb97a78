"""Exercises 05: what the checks call right, found by other roads, and right answers rounded."""

from typing import Any

import numpy as np

from pld_edu import reference
from pld_edu.exercises import reductions
from tests.support.exercises import refuse


def test_pushes_name_their_losses() -> None:
    t, y, zeros = np.log([2.0, 5.0, 3.0]), 2, np.zeros(3)
    weights = {"PLD": "teacher", "weighted CE": "label", "CE": "one-hot"}
    weights |= {"ListMLE": "uniform", "P-ListMLE": "position"}
    shown = {  # pushes on the classes at rank 1, 2 and 3, as the notebook shows them
        "A": [0.22, 0.06, -0.28],
        "B": [0.67, -0.33, -0.33],
        "C": [0.20, 0.15, -0.35],
        "D": [0.50, -0.13, -0.38],
        "E": [0.20, -0.10, -0.10],
    }
    for name, how in weights.items():
        push = -reference.pld_gradient(zeros, t, y, weights=how)[[2, 1, 0]]
        near = [letter for letter, row in shown.items() if np.abs(row - push).max() < 0.0051]
        assert [reductions.PUSHES.right[letter] for letter in near] == [name]


def test_floor_is_pld_plus_cross_entropy() -> None:
    s, t, y = np.array([0.3, -1.0, 2.0]), np.log([2.0, 5.0, 3.0]), 2
    sum_of_both = reference.pld_loss(s, t, y) + 0.2 * reference.cross_entropy(s, y)
    floored = reference.pld_loss(s, t, y, weights=reductions.louder(t, y, 0.5))
    assert np.isclose(floored, sum_of_both, rtol=1e-14)


def test_temperature_has_a_formula_for_two_equal_rivals() -> None:
    found = reductions.temperature_for(np.array([2.0, 0.0, 0.0]), 0, 0.6)
    assert np.isclose(found, 2 / np.log(3), rtol=1e-12)


def test_broken_code_of_the_notebook_is_wrong() -> None:
    def broken(s: Any, t: Any, y: int) -> float:
        z = s[np.argsort(-t, kind="stable")]
        costs = [np.log(np.exp(z[k:]).sum()) - z[k] for k in range(len(z))]
        return sum((2.0 ** (len(z) - k) - 1) * cost for k, cost in enumerate(costs))

    refuse("05.3", broken, mistake="label-not-first")
