"""Exercises 07: what the checks call right, found by other roads, and other right answers."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from pld_edu import losses
from tests.support.exercises import accept, find, refuse


def test_kd_by_hand_and_in_torch() -> None:
    q, p = np.array([0.75, 0.25]), 0.5
    accept("07.1", (4 * (q * np.log(q / p)).sum(), 100 * 4**2))

    def soft_cross_entropy(s: torch.Tensor, t: torch.Tensor, tau: float) -> torch.Tensor:
        q = (t / tau).softmax(-1)
        return tau**2 * (F.cross_entropy(s / tau, q) + torch.special.entr(q).sum(-1).neg().mean())

    accept("07.2", soft_cross_entropy)


def test_a_students_probability_may_underflow() -> None:
    def log_of_softmax(s: torch.Tensor, t: torch.Tensor, tau: float) -> torch.Tensor:
        log_p = (s / tau).softmax(-1).log()
        return tau**2 * F.kl_div(log_p, (t / tau).softmax(-1), reduction="batchmean")

    assert "got     value inf" in refuse("07.2", log_of_softmax)


def test_kd_is_the_sum_of_its_two_stages() -> None:
    split = find("07.5")
    for s, t, y, tau in split.cases:
        target, weight, rest = split.right(s, t, y, tau)
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
    accept("07.4", (kd, bare, pld, 2.0**-2))
