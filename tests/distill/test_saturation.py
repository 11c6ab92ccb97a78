import numpy as np
import pytest
import torch
from scipy.special import softmax

from pld_edu import reference
from pld_edu.distill.saturation import saturation


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_against_numpy(temperature):
    rng = np.random.default_rng(0)
    n, classes = 50, 6
    s, t = rng.normal(size=(n, classes)), 5 * rng.normal(size=(n, classes))
    y = rng.integers(classes, size=n)
    weight = softmax(t / temperature, axis=-1)[np.arange(n), y]
    pld = reference.pld_gradient(s, t, y, temperature=temperature)
    ce = softmax(s, axis=-1) - np.eye(classes)[y]
    norms = np.linalg.norm(pld, axis=-1) * np.linalg.norm(ce, axis=-1)
    found = saturation(torch.tensor(t), torch.tensor(y), torch.tensor(s), temperature)
    assert found == {
        "mean_label_weight": pytest.approx(weight.mean(), rel=1e-12),
        "share_above_99": np.mean(weight > 0.99),
        "cosine_to_ce": pytest.approx(((pld * ce).sum(axis=-1) / norms).mean(), rel=1e-9),
    }


def test_a_saturated_teacher_makes_pld_cross_entropy():
    y = torch.tensor([0, 1, 2])
    t = 200.0 * torch.eye(3)
    s = torch.tensor([[0.0, 1.0, 2.0], [0.3, 0.1, -1.0], [2.0, 2.0, 1.0]])
    assert saturation(t, y, s) == {
        "mean_label_weight": 1.0,
        "share_above_99": 1.0,
        "cosine_to_ce": pytest.approx(1.0, abs=1e-12),
    }
