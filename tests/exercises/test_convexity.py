"""Exercises 04: what the checks call right, found by other roads."""

from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from pld_edu import reference
from pld_edu.exercises import convexity
from tests.support.exercises import accept, refuse


def test_no_random_student_is_steeper_than_the_bound() -> None:
    rng = np.random.default_rng(0)
    students = rng.normal(size=(4000, 3)) * rng.choice([1.0, 5.0, 20.0], size=(4000, 1))
    t, y = np.tile(np.log([0.6, 0.3, 0.1]), (4000, 1)), np.zeros(4000, int)
    H = reference.pld_hessian(students, t, y, reduction="none")
    assert 0.4 < np.linalg.eigvalsh(H).max() <= (1 - 0.1) / 2
    accept("04.1", ((1 - 0.1) / 2, 4 / (1 - 0.1)))


def test_a_random_search_finds_the_counterexample() -> None:
    def search() -> Any:
        rng = np.random.default_rng(2)
        pairs = 3 * rng.normal(size=(500, 2, 4))
        return max(pairs, key=lambda pair: convexity.above_chord(*pair)).tolist()

    accept("04.2", search)


def test_gaps_by_gradient_flow() -> None:
    log_q = np.log([0.6, 0.3, 0.1])
    pulls = {
        "kd": lambda _, s: np.exp(log_q) - np.exp(s) / np.exp(s).sum(),
        "pld": lambda _, s: -reference.pld_gradient(s, log_q, 0),
    }
    found = []
    for pull in pulls.values():
        end = solve_ivp(pull, (0, 2000), np.zeros(3), "LSODA", rtol=1e-9, atol=1e-11).y[:, -1]
        found.append((end[0] - end[1]) - (end[1] - end[2]))
    assert np.isclose(reference.pld_loss(end, log_q, 0), 1e-3, rtol=0.02)  # after 2000
    accept("04.3", (*found, 2000))


def test_convexity_of_the_changed_losses() -> None:
    def costs(s: Any, ranking: Any) -> Any:
        z = np.take_along_axis(s, ranking, axis=-1)
        return np.stack([np.logaddexp.reduce(z[:, k:], axis=-1) - z[:, k] for k in range(4)], -1)

    def pld(s: Any) -> Any:
        return (alpha * costs(s, ranking)).sum(axis=-1)

    def own_weights(s: Any) -> Any:
        weights = np.exp(s) / np.exp(s).sum(axis=-1, keepdims=True)
        return (np.take_along_axis(weights, ranking, axis=-1) * costs(s, ranking)).sum(axis=-1)

    rng = np.random.default_rng(3)
    a, b = 3 * rng.normal(size=(2, 4000, 4))
    t, y = rng.normal(size=(4000, 4)), rng.integers(4, size=4000)
    ranking = reference.teacher_ranking(t, y)
    alpha = reference.rank_weights(t, ranking)
    changed = {
        "a": lambda s: pld(s / 4),
        "b": lambda s: pld(s / s.std(axis=-1, keepdims=True)),
        "c": lambda s: pld(s / (1 + y[:, None])),
        "d": lambda s: (alpha * costs(s, reference.teacher_ranking(s, y))).sum(axis=-1),
        "e": own_weights,
        "f": lambda s: pld(s) + reference.kd_loss(s, t, reduction="none"),
        "g": lambda s: pld(s) ** 2,
        "h": lambda s: np.sqrt(pld(s)),
    }
    below = {
        letter
        for letter, loss in changed.items()
        if (loss((a + b) / 2) <= (loss(a) + loss(b)) / 2 + 1e-9).all()
    }
    accept("04.4", below)


def test_an_error_in_a_function_without_arguments_is_told() -> None:
    assert "<lambda> raised ZeroDivisionError" in refuse("04.2", lambda: 1 / 0)
