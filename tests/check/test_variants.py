"""The variants of the loss: gradients against difference quotients."""

import numpy as np
import pytest

from pld_edu.check import cases
from pld_edu.check.family import LOSSES
from pld_edu.check.mistakes import BY_NAME
from pld_edu.check.pld import PLD

VARIANTS = [
    loss(**changes)
    for loss in LOSSES.values()
    for changed in loss.mistakes.values()
    for changes in changed
]


@pytest.mark.parametrize("name", LOSSES)
def test_the_default_is_right(name):
    for case in cases(name):
        if "extreme" not in case.flags:
            right = LOSSES[name]()
            assert right.value(case) == pytest.approx(case.loss, rel=1e-12, abs=1e-13)
            np.testing.assert_allclose(right.gradient(case), case.gradient, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["kd", "dist", "dkd"])
def test_every_term_is_right(name):
    for case in cases(name):
        parts = LOSSES[name]().parts(case)
        for term, key in LOSSES[name].answers.items():
            if "extreme" not in case.flags:
                assert parts[term] == pytest.approx(case.answers[key].loss, rel=1e-12, abs=1e-13)


def test_gradients_agree_with_difference_quotients():
    case = next(c for c in cases() if c.id == "hot")
    h = 1e-6
    for variant in [PLD(), PLD(over_batch="none"), *VARIANTS]:
        if variant.log == "sum" or "detached" in variant.log + getattr(variant, "weights", ""):
            continue  # Their point is that a part is not differentiated.
        shifts = h * np.eye(15).reshape(15, 3, 5)
        up = variant.value(case, case.student_logits + shifts)
        down = variant.value(case, case.student_logits - shifts)
        quotient = (up - down) / (2 * h)
        if variant.over_batch == "none":
            quotient = quotient.sum(axis=-1)
        np.testing.assert_allclose(
            variant.gradient(case), quotient.reshape(3, 5), rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize("name", LOSSES)
def test_no_two_mistakes_are_the_same_change(name):
    mistakes = LOSSES[name].mistakes
    changed = [frozenset(changes.items()) for some in mistakes.values() for changes in some]
    assert len(set(changed)) == len(changed)
    assert mistakes.keys() | LOSSES[name].solved.keys() <= BY_NAME.keys()


def test_factors_scale_the_loss_and_what_is_added():
    case = next(c for c in cases() if c.id == "hot")
    with_ce = PLD(ce=1.0).value(case)
    plain = PLD().value(case)
    blend = PLD(factor=0.9, ce=0.1).value(case)
    assert blend == pytest.approx(0.9 * plain + 0.1 * (with_ce - plain))
