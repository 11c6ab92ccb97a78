"""The engine: what counts as the same, which mistake is found, and the simple relations."""

from fractions import Fraction
from math import inf, nan

import numpy as np
import pytest

from pld_edu.check.engine import (
    as_array,
    common_factor,
    describe_relation,
    find_mistake,
    is_finite,
    same,
)

RIGHT = [2.0, np.array([[1.0, -3.0], [0.0, 5.0]])]


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (1.0 + 9e-7, 1.0),
        ([1, 2], np.array([1.0, 2.0])),
        (np.array([1.0, 2.0]), (1.0, 2.0)),
        ({"a": 1.0, "b": (True, "x")}, {"a": 1, "b": (True, "x")}),
        ({"x", "y"}, {"y", "x"}),
        (Fraction(1, 3), 1 / 3),
        ([nan, inf], np.array([nan, inf])),
        ((), ()),
    ],
)
def test_same(got, wanted):
    assert same(got, wanted, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (1.0 + 2e-6, 1.0),
        (1e-9, 0.0),
        (True, 1),
        ([1.0, 2.0, 3.0], np.array([1.0, 2.0])),
        ([1.0], 1.0),
        ((1.0, 2.0), (1.0, 2.0, 3.0)),
        ({"a": 1.0}, {"a": 1.0, "b": 2.0}),
        (1.0, (1.0,)),
        ("x", "y"),
        ("x", {"x"}),
        ("1", 1),
        (None, 1.0),
        (nan, 1.0),
        (-inf, inf),
        ([[1.0], [1.0, 2.0]], np.ones(2)),
    ],
)
def test_not_same(got, wanted):
    assert not same(got, wanted, rtol=1e-6, atol=0.0)


def test_atol_is_added_to_the_relative_tolerance():
    assert same(102.9, 100.0, rtol=0.02, atol=1.0)
    assert not same(103.1, 100.0, rtol=0.02, atol=1.0)


def test_tensors_are_arrays_even_in_bfloat16():
    torch = pytest.importorskip("torch")
    leaf = torch.tensor([1.0, 2.5], requires_grad=True)
    np.testing.assert_array_equal(as_array(leaf), [1.0, 2.5])
    np.testing.assert_array_equal(as_array(leaf.bfloat16()), [1.0, 2.5])


def test_is_finite():
    assert is_finite([1, 2])
    assert not is_finite([1.0, nan])
    assert not is_finite(inf)
    assert not is_finite("text")


def test_the_first_mistake_that_fits_is_found():
    assert find_mistake(range(1, 10), lambda n: n % 2 == 0) == 2
    assert find_mistake(range(1, 10), lambda n: n > 10) is None


def test_a_mistake_that_fits_fully_is_preferred():
    def even(n):
        return n % 2 == 0

    assert find_mistake(range(1, 10), even, lambda n: n > 5) == 6
    assert find_mistake(range(1, 10), even, lambda n: n > 100) == 2
    assert find_mistake(range(0, 10), even, lambda n: n > 100) == 0
    assert find_mistake(range(1, 10), even, lambda n: n == 3) == 2


@pytest.mark.parametrize(
    ("wrong", "kind", "number", "sentence"),
    [
        (lambda x: -x, "sign", -1.0, "Every number has the wrong sign."),
        (lambda x: 3 * x, "factor", 3.0, "Every number is 3 times the right one."),
        (lambda x: -x / 4, "factor", -0.25, "Every number is -0.25 times the right one."),
        (lambda x: x + 0.5, "offset", 0.5, "Every number is off by the same +0.5."),
        (lambda x: x * (1 + 2e-6), "digits", nan, "Right to a few digits only"),
        (lambda x: np.float32(x) + np.float32(1e-6), "digits", nan, "Right to a few digits only"),
        (lambda x: x * np.inf, "not finite", nan, "nan or inf came out"),
        (lambda x: np.array([x]), "shape", nan, "wanted one number, got shape (1,)"),
        (lambda x: "text", "kind", nan, "A number or an array of numbers is wanted."),
    ],
)
def test_relation(wrong, kind, number, sentence):
    with np.errstate(all="ignore"):
        relation = describe_relation([wrong(x) for x in RIGHT], RIGHT)
    assert relation.kind == kind
    assert relation.number == pytest.approx(number, nan_ok=True)
    assert sentence in relation.sentence


def test_no_relation():
    assert describe_relation([x**2 for x in RIGHT], RIGHT) is None
    assert describe_relation([0.0, np.zeros((2, 2))], RIGHT) is None
    assert describe_relation([4.0], [2.0]) is None  # Any two numbers have a factor.
    assert describe_relation([nan, 1.0], [nan, 2.0]) is None


def test_relation_of_other_things_than_numbers():
    assert describe_relation(["a"], ["b"]) is None
    assert describe_relation([1.0], [(1.0, "b")]).sentence == "A tuple is wanted, not a float."


def test_common_factor_obeys_its_tolerance():
    y = np.array([1.0, -2.0, 4.0])
    noisy = 2 * y * (1 + np.array([1e-5, -1e-5, 0.0]))
    assert common_factor(noisy, y, rtol=1e-3) == pytest.approx(2.0, rel=1e-4)
    assert common_factor(noisy, y, rtol=1e-8) is None
    assert common_factor(y, 0 * y, rtol=1e-3) is None
    assert common_factor(0 * y, y, rtol=1e-3) is None
