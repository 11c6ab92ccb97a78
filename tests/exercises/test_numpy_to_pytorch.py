"""Exercises 06: what the checks call right, found by other roads, and other right answers."""

import pytest
import torch
from torch.nn import functional as F

from pld_edu import losses
from tests.support.exercises import accept, refuse


def test_other_ways_to_write_the_torch_pieces() -> None:
    accept("06.2", lambda s, tail: -F.logsigmoid(s - tail))

    def by_mask(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        order = t.double().argsort(dim=-1, descending=True, stable=True)
        others = order[order != y[:, None]].reshape(len(t), -1)
        return torch.cat([y[:, None], others], dim=1)

    def cut_out(s: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        there = ~t.isneginf()
        return losses.pld_loss(s[there], t[there], y - (~there[: int(y)]).sum())

    accept("06.3", by_mask)
    accept("06.4", cut_out)
    accept(
        "06.5", lambda s, t, y, temperature=1.0: losses.pld_loss(s, t, y, temperature=temperature)
    )


def test_ties_are_not_broken_by_luck() -> None:
    """Sorts of a few classes are stable even where they need not be."""

    def unstable(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return t.scatter(-1, y[:, None], torch.inf).argsort(dim=-1, descending=True)

    def nudged(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return unstable(t - 1e-6 * torch.arange(t.shape[-1]), y)

    refuse("06.3", unstable, mistake="other-ties")
    refuse("06.3", nudged)


@pytest.mark.parametrize("number", ["06.5", "11.3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_literal_form_loses_its_digits(number: str, dtype: torch.dtype) -> None:
    def pld(s: torch.Tensor, t: torch.Tensor, y: torch.Tensor, tau: float = 1.0, odds: int = 0):
        ranking = losses.teacher_ranking(t, y)
        alpha = (t.detach() / tau).softmax(-1).gather(-1, ranking)
        z = s.to(dtype).gather(-1, ranking)
        tails = z.flip(-1).logcumsumexp(-1).flip(-1)
        if not odds:
            return (alpha * (tails - z)).sum(-1).mean()
        against = tails[:, 1:] - z[:, :-1]
        return (alpha[:, :-1] * torch.logaddexp(torch.zeros_like(against), against)).sum(-1).mean()

    refuse(number, pld, mistake="lost-digits")
    accept(number, lambda *case, temperature=1.0: pld(*case, temperature, odds=1))
