import pytest
import torch
from torch.nn import functional as F

from pld_edu import losses
from pld_edu.distill.objectives import StackedLoss, make_loss, set_progress
from pld_edu.results.methods import Setting

GENERATOR = torch.Generator().manual_seed(0)
S, T = torch.randn(2, 6, 5, dtype=torch.float64, generator=GENERATOR)
Y = torch.tensor([0, 1, 2, 3, 4, 0])


def test_dkd_warms_up_over_the_first_20_of_240_epochs():
    loss = make_loss(Setting("dkd", 4.0))
    cross_entropy = F.cross_entropy(S, Y)
    decoupled = losses.dkd_loss(S, T, Y, temperature=4.0)
    for epoch, factor in ((0, 0.0), (5, 0.25), (20, 1.0), (240, 1.0)):
        set_progress([loss], epoch / 240)
        expected = cross_entropy + factor * decoupled
        torch.testing.assert_close(loss(S, T, Y), expected, rtol=1e-7, atol=0)


def test_dkd_has_the_beta_of_its_pair_of_networks():
    decoupled = losses.dkd_loss(S, T, Y, temperature=4.0, beta=2.0)
    found = make_loss(Setting("dkd", 4.0), dkd_beta=2.0)(S, T, Y)
    torch.testing.assert_close(found, F.cross_entropy(S, Y) + decoupled, rtol=1e-12, atol=0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_methods_weigh_their_terms_as_is_usual(temperature):
    ce = F.cross_entropy(S, Y)
    probabilities = (T / temperature).softmax(-1)
    divergence = temperature**2 * F.kl_div(
        (S / temperature).log_softmax(-1), probabilities, reduction="batchmean"
    )
    expected = {
        "kd": 0.1 * ce + 0.9 * divergence,
        "dist": ce + losses.dist_loss(S, T, temperature=temperature, beta=2.0, gamma=2.0),
        "dkd": ce + losses.dkd_loss(S, T, Y, temperature=temperature, alpha=1.0, beta=8.0),
        "pld": losses.pld_loss(S, T, Y, temperature=temperature),
    }
    for method, value in expected.items():
        found = make_loss(Setting(method, temperature))(S, T, Y)
        torch.testing.assert_close(found, value, rtol=1e-12, atol=0)
    found = make_loss(Setting("ce", None))(S, T, Y)
    torch.testing.assert_close(found, ce, rtol=1e-12, atol=0)


def test_no_other_loss_warms_up():
    others = [make_loss(Setting("pld", 1.0)), lambda s, t, y: F.cross_entropy(s, y)]
    before = [loss(S, T, Y) for loss in others]
    set_progress(others, 0.0)
    assert [loss(S, T, Y) for loss in others] == before


def test_a_stacked_loss_has_one_value_for_each_student():
    """As if each were alone, DIST's correlations over the batch and DKD's warm-up included."""
    settings = [Setting("ce", None), Setting("dist", 4.0), Setting("dkd", 4.0), Setting("pld", 1.0)]
    each = [make_loss(setting) for setting in settings]
    stacked = StackedLoss(each)
    set_progress([stacked], 10 / 240)
    s = torch.randn(4, 3, 6, 5, dtype=torch.float64, generator=GENERATOR)  # [loss, seed, N, C]
    t = torch.randn(3, 6, 5, dtype=torch.float64, generator=GENERATOR)
    y = torch.stack([Y, Y.flip(0), Y.roll(1)])
    expected = [loss(s[i, k], t[k], y[k]) for i, loss in enumerate(each) for k in range(3)]
    found = stacked(s.flatten(0, 1), t, y)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-12, atol=0)
    dkd = F.cross_entropy(s[2, 0], Y) + 0.5 * losses.dkd_loss(s[2, 0], t[0], Y, temperature=4.0)
    torch.testing.assert_close(found[6], dkd, rtol=1e-12, atol=0)
