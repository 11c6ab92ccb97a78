import pytest
import torch
from torch.nn import functional as F

from pld_edu import losses
from pld_edu.distill.objectives import make_loss, set_warmth, warming_loss
from pld_edu.results.methods import Setting

GENERATOR = torch.Generator().manual_seed(0)
S, T = torch.randn(2, 6, 5, dtype=torch.float64, generator=GENERATOR)
Y = torch.tensor([0, 1, 2, 3, 4, 0])


def test_dkd_warms_up_over_the_first_20_of_240_epochs():
    loss = warming_loss(Setting("dkd", 4.0), torch.device("cpu"))
    hard = F.cross_entropy(S, Y)
    soft = losses.dkd_loss(S, T, Y, temperature=4.0)
    for epoch, share in ((0, 0.0), (5, 0.25), (20, 1.0), (240, 1.0)):
        set_warmth([loss], epoch / 240)
        torch.testing.assert_close(loss(S, T, Y), hard + share * soft, rtol=1e-7, atol=0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_methods_weigh_their_terms_as_is_usual(temperature):
    hard = F.cross_entropy(S, Y)
    probabilities = (T / temperature).softmax(-1)
    divergence = temperature**2 * F.kl_div(
        (S / temperature).log_softmax(-1), probabilities, reduction="batchmean"
    )
    expected = {
        "kd": 0.1 * hard + 0.9 * divergence,
        "dist": hard + losses.dist_loss(S, T, temperature=temperature, beta=2.0, gamma=2.0),
        "dkd": hard + losses.dkd_loss(S, T, Y, temperature=temperature, alpha=1.0, beta=8.0),
        "pld": losses.pld_loss(S, T, Y, temperature=temperature),
    }
    for method, value in expected.items():
        found = make_loss(Setting(method, temperature))(S, T, Y)
        torch.testing.assert_close(found, value, rtol=1e-12, atol=0)
    ce = make_loss(Setting("ce", None))(S, T, Y)
    torch.testing.assert_close(ce, hard, rtol=1e-12, atol=0)


def test_only_dkd_knows_warmth():
    others = [warming_loss(Setting("pld", 1.0), torch.device("cpu"))]
    before = others[0](S, T, Y)
    set_warmth(others, 0.0)
    assert others[0](S, T, Y) == before
