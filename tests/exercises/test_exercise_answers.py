"""Exercises 04 to 07: what the checks call right, found by other roads, and other right answers."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.nn import functional as F

from pld_edu import losses, reference
from pld_edu.exercises import NotYet, convexity, exercises, numpy_to_pytorch, reductions


def accept(number: str, answer: Any) -> None:
    exercise = next(e for e in exercises(number[:2]) if e.number == number)
    exercise.judge(answer)


def test_bend_by_fractions() -> None:
    third, quarter = Fraction(1, 3) * Fraction(1, 3), Fraction(1, 4)
    H = [[Fraction(0)] * 3 for _ in range(3)]
    for i in range(3):
        for j in range(3):
            H[i][j] += Fraction(1, 2) * ((i == j) * Fraction(1, 3) - third)
            if i and j:
                H[i][j] += Fraction(1, 3) * ((i == j) * Fraction(1, 2) - quarter)
    accept("04.1", [[float(h) for h in row] for row in H])


def test_no_random_student_is_steeper_than_the_bound() -> None:
    rng = np.random.default_rng(0)
    students = rng.normal(size=(4000, 3)) * rng.choice([1.0, 5.0, 20.0], size=(4000, 1))
    t, y = np.tile(np.log([0.6, 0.3, 0.1]), (4000, 1)), np.zeros(4000, int)
    H = reference.pld_hessian(students, t, y, reduction="none")
    assert 0.4 < np.linalg.eigvalsh(H).max() <= (1 - 0.1) / 2
    accept("04.2", ((1 - 0.1) / 2, 4 / (1 - 0.1)))


def test_second_difference_is_the_hessian() -> None:
    rng = np.random.default_rng(1)
    s, d = rng.normal(size=(2, 3))
    exact = d @ reference.pld_hessian(s, [1.0, 0.5, -1.0], 0) @ d
    assert np.isclose(
        convexity.second_difference(convexity.pld, s, d, 1e-4), exact, rtol=1e-5, atol=0
    )
    accept("04.3", lambda f, s, d, h: ((f(s + h * d) - f(s)) - (f(s) - f(s - h * d))) / h / h)


def test_a_random_search_finds_the_counterexample() -> None:
    def search() -> Any:
        rng = np.random.default_rng(2)
        pairs = 3 * rng.normal(size=(500, 2, 4))
        return max(pairs, key=lambda pair: convexity.above_chord(*pair)).tolist()

    accept("04.4", search)


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
    accept("04.5", (*found, 2000))


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
    accept("04.6", below)


def test_vectors_by_hand() -> None:
    third = Fraction(1, 3)
    accept("05.1", ([0.3, 0.5, 0.2], [0.3, 0, 0], [1, 0, 0], [third] * 3, np.array([3, 1, 0]) / 4))


def test_silenced_label_by_difference_quotients() -> None:
    def loss(s0: float) -> float:
        return float(reference.pld_loss([s0, 2.0, 3.0], [20.0, 0.0, -20.0], 2))

    slope = (loss(1 + 1e-6) - loss(1 - 1e-6)) / 2e-6
    accept("05.2", (slope, -40 * np.log10(np.e), 1 / 0.3))


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

    with pytest.raises(NotYet):
        accept("05.4", broken)


@pytest.mark.parametrize(("part", "dtype"), [(0, torch.float32), (1, torch.float64)])
def test_one_minus_p_by_bisection(part: int, dtype: torch.dtype) -> None:
    low, high = 1.0, 60.0
    for _ in range(50):
        middle = (low + high) / 2
        p = torch.tensor([0.0, -middle], dtype=dtype).softmax(-1)[0]
        low, high = (low, middle) if (1 - p).item() == 0 else (middle, high)
    assert np.isclose(numpy_to_pytorch.digits.right[part], high, rtol=1e-4)


def test_other_ways_to_write_the_torch_pieces() -> None:
    accept("06.3", lambda s, tail: -F.logsigmoid(s - tail))

    def by_mask(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        order = t.double().argsort(dim=-1, descending=True, stable=True)
        others = order[order != y[:, None]].reshape(len(t), -1)
        return torch.cat([y[:, None], others], dim=1)

    def cut_out(s: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        there = ~t.isneginf()
        return losses.pld_loss(s[there], t[there], y - (~there[: int(y)]).sum())

    accept("06.4", by_mask)
    accept("06.5", cut_out)
    accept(
        "06.6", lambda s, t, y, temperature=1.0: losses.pld_loss(s, t, y, temperature=temperature)
    )


def test_kd_by_hand_and_in_torch() -> None:
    q, p = np.array([0.75, 0.25]), 0.5
    accept("07.1", (4 * (q * np.log(q / p)).sum(), 100 * 4**2))

    def soft_cross_entropy(s: torch.Tensor, t: torch.Tensor, tau: float) -> torch.Tensor:
        q = (t / tau).softmax(-1)
        return tau**2 * (F.cross_entropy(s / tau, q) + torch.special.entr(q).sum(-1).neg().mean())

    accept("07.3", soft_cross_entropy)


def test_kd_is_the_sum_of_its_two_stages() -> None:
    split = next(e for e in exercises("07") if e.number == "07.6")
    for s, t, y, tau in split.cases:  # type: ignore[attr-defined]
        target, weight, rest = split.right(s, t, y, tau)  # type: ignore[attr-defined]
        whole = losses.kd_loss(s, t, temperature=tau, reduction="none") / tau**2
        assert torch.allclose(target + weight * rest, whole, rtol=1e-12)


def test_gradient_sizes_at_large_temperatures() -> None:
    rng = np.random.default_rng(4)
    s, t = torch.tensor(rng.normal(size=(2, 8, 10)))
    y = t.argmax(-1)

    def power(loss: Any) -> float:
        cool, hot = (torch.func.grad(loss)(s, tau).norm() for tau in (100.0, 1000.0))
        return torch.log10(hot / cool).item()

    kd = power(lambda s, tau: losses.kd_loss(s, t, temperature=tau))
    bare = power(lambda s, tau: losses.kd_loss(s, t, temperature=tau) / tau**2)
    pld = power(lambda s, tau: losses.pld_loss(s, t, y, temperature=tau))
    accept("07.5", (kd, bare, pld, 2.0**-2))
