"""What the fused kernel is given and what becomes of its results, with a stand-in for the kernel.

The stand-in computes in float32 by `losses`, as the kernel's signature says; the kernel itself is
tested in test_triton_kernel.py.
"""

from math import inf, nan

import pytest
import torch

from pld_edu import fast, losses
from pld_edu.fast import rows, triton_kernel
from tests.support import cases
from tests.support.tolerances import BY_DTYPE


def stand_in(s, t, y, temperature, weights):
    """Rows and their gradient; a label out of range would raise in the gather."""
    assert y.dtype == torch.int64
    assert (s.ndim, t.ndim, y.ndim) == (2, 2, 1)
    t = t.nan_to_num(0.0)
    with torch.enable_grad():
        leaf = s.float().nan_to_num(0.0).requires_grad_()
        values = losses.pld_loss(
            leaf, t, y, temperature=temperature, weights=weights, reduction="none"
        )
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), gradient


def cached_stand_in(s, ranking, alpha):
    with torch.enable_grad():
        leaf = s.float().requires_grad_()
        steps = losses.plackett_luce.choice_losses(leaf.double().gather(-1, ranking.long()))
        values = (steps * alpha[:, :-1]).sum(dim=-1)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach().float(), gradient


@pytest.fixture(autouse=True)
def kernel(monkeypatch):
    monkeypatch.setattr(triton_kernel, "pld_rows_and_gradient", stand_in)
    monkeypatch.setattr(triton_kernel, "cached_rows_and_gradient", cached_stand_in)
    monkeypatch.setattr(rows, "_fits_kernel", lambda *logits: True)


def value_and_gradient(loss, s, *others, **options):
    leaf = s.clone().requires_grad_()
    value = loss(leaf, *others, **options)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("lead", cases.LEADS)
def test_the_kernels_numbers_come_out(lead, reduction, dtype):
    s, t, y = (torch.tensor(z) for z in cases.batch(lead))
    s, t = s.to(dtype), t.to(dtype)
    options = {"temperature": 2.0, "weights": "label", "reduction": reduction}
    ours = value_and_gradient(fast.pld_loss, s, t, y, **options)
    theirs = value_and_gradient(losses.pld_loss, s, t, y, **options)
    assert (ours[0].dtype, ours[1].dtype) == (torch.float32, dtype)
    torch.testing.assert_close(ours[0], theirs[0], rtol=BY_DTYPE["float32"].loss, atol=0)
    torch.testing.assert_close(ours[1], theirs[1], rtol=2.0**-10, atol=1e-7)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_rows_count_for_nothing_whatever_they_hold(reduction):
    s, t, y = (torch.tensor(z) for z in cases.batch((5,)))
    s, t = s.float(), t.float()
    y[1], y[4] = -100, -100
    s[1], t[1], s[4], t[4] = nan, inf, -inf, nan
    ours = value_and_gradient(fast.pld_loss, s, t, y, reduction=reduction)
    theirs = value_and_gradient(losses.pld_loss, s, t, y, reduction=reduction)
    for got, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("lead", cases.LEADS)
def test_cached_targets_go_to_the_kernel_too(lead):
    s, t, y = (torch.tensor(z) for z in cases.batch(lead))
    s, t = s.float(), t.float()
    targets = fast.TeacherTargets.compute(t, y)
    ours = value_and_gradient(fast.pld_loss_from_targets, s, targets)
    theirs = value_and_gradient(losses.pld_loss, s, t, y)
    for got, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-7)
