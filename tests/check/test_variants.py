"""The variants of the loss: gradients against difference quotients."""

import numpy as np
import pytest

from pld_edu.check import cases
from pld_edu.check.mistakes import MISTAKES
from pld_edu.check.variants import LossVariant, gradient, loss

VARIANTS = [LossVariant(**changes) for m in MISTAKES for changes in m.variants]


def test_the_default_is_pld():
    for case in cases():
        if "extreme" not in case.flags:
            assert loss(LossVariant(), case) == pytest.approx(case.loss, rel=1e-12, abs=1e-13)


def test_gradients_agree_with_difference_quotients():
    case = next(c for c in cases() if c.id == "hot")
    h = 1e-6
    for variant in [LossVariant(), LossVariant(over_batch="none"), *VARIANTS]:
        if variant.weights == "student, detached" or variant.log == "sum":
            continue  # Their point is that a part is not differentiated.
        shifts = h * np.eye(15).reshape(15, 3, 5)
        up = loss(variant, case, s=case.student_logits + shifts)
        down = loss(variant, case, s=case.student_logits - shifts)
        quotient = (up - down) / (2 * h)
        if variant.over_batch == "none":
            quotient = quotient.sum(axis=-1)
        np.testing.assert_allclose(gradient(variant, case), quotient.reshape(3, 5), atol=1e-7)


def test_no_two_mistakes_are_the_same_change():
    changed = [frozenset(changes.items()) for m in MISTAKES for changes in m.variants]
    assert len(set(changed)) == len(changed)


def test_factors_scale_the_loss_and_what_is_added():
    case = next(c for c in cases() if c.id == "hot")
    with_ce = loss(LossVariant(extra="ce in rows"), case)
    plain = loss(LossVariant(), case)
    blend = loss(LossVariant(factor=0.9, extra="ce in rows", extra_factor=0.1), case)
    assert blend == pytest.approx(0.9 * plain + 0.1 * (with_ce - plain))
