"""The variants of the loss: gradients against difference quotients."""

import numpy as np
import pytest

from pld_edu.check import cases
from pld_edu.check.pld import MISTAKES, PLD

VARIANTS = [PLD(**changes) for changed in MISTAKES.values() for changes in changed]


def test_the_default_is_pld():
    for case in cases():
        if "extreme" not in case.flags:
            assert PLD().value(case) == pytest.approx(case.loss, rel=1e-12, abs=1e-13)


def test_gradients_agree_with_difference_quotients():
    case = next(c for c in cases() if c.id == "hot")
    h = 1e-6
    for variant in [PLD(), PLD(over_batch="none"), *VARIANTS]:
        if variant.weights == "student, detached" or variant.log == "sum":
            continue  # Their point is that a part is not differentiated.
        shifts = h * np.eye(15).reshape(15, 3, 5)
        up = variant.value(case, case.student_logits + shifts)
        down = variant.value(case, case.student_logits - shifts)
        quotient = (up - down) / (2 * h)
        if variant.over_batch == "none":
            quotient = quotient.sum(axis=-1)
        np.testing.assert_allclose(variant.gradient(case), quotient.reshape(3, 5), atol=1e-7)


def test_no_two_mistakes_are_the_same_change():
    changed = [frozenset(changes.items()) for changed in MISTAKES.values() for changes in changed]
    assert len(set(changed)) == len(changed)


def test_factors_scale_the_loss_and_what_is_added():
    case = next(c for c in cases() if c.id == "hot")
    with_ce = PLD(ce=1.0).value(case)
    plain = PLD().value(case)
    blend = PLD(factor=0.9, ce=0.1).value(case)
    assert blend == pytest.approx(0.9 * plain + 0.1 * (with_ce - plain))
