"""Calling PLD of `losses` and `fast` in a test: tensors in, value and gradient out."""

import pytest
import torch

from pld_edu import fast, losses

each_package = pytest.mark.parametrize("package", [losses, fast], ids=["losses", "fast"])


def tensors(*values, dtype=torch.float64):
    """Logits and labels as tensors; the first asks for a gradient."""
    *logits, y = values
    s, *others = (torch.as_tensor(z, dtype=dtype) for z in logits)
    return [s.clone().requires_grad_(), *others, torch.as_tensor(y)]


def value_and_gradient(s, t, y, package=losses, **options):
    """Of `pld_loss`, by autograd; `losses.pld_gradient` must give the same."""
    value = package.pld_loss(s, t, y, **options)
    (slope,) = torch.autograd.grad(value.sum(), s)
    if package is losses:
        gradient = losses.pld_gradient(s, t, y, **options).detach()
        assert gradient.dtype == value.dtype
        digits = max(1e-13, torch.finfo(slope.dtype).eps)
        atol = digits * float(slope.abs().amax()) if slope.numel() else 0.0
        torch.testing.assert_close(gradient.to(slope.dtype), slope, rtol=0, atol=atol)
    return value.detach(), slope
