"""Every sort against Python's own: label first, descending, lower index first among equals."""

import numpy as np
import pytest
import torch

from pld_edu import reference
from pld_edu.fast import pld

HALVES = [torch.float16, torch.bfloat16]
# The numbers of classes between which the sorts change.
SORTS = {"plain": (10**6, 0), "packed": (0, 10**6), "by digits": (0, 0)}


@pytest.fixture(params=SORTS)
def sort(request, monkeypatch):
    """Each way to sort, whatever the number of classes."""
    monkeypatch.setattr(pld, "TOO_SMALL_TO_PACK", SORTS[request.param][0])
    monkeypatch.setattr(pld, "LARGEST_TO_PACK", SORTS[request.param][1])
    return request.param


def by_hand(t, y):
    """The documented rule, by Python's stable sort of numbers."""
    return [
        sorted(range(len(row)), key=lambda i: (i != label, -row[i], i))
        for row, label in zip(t.double().tolist(), y.tolist(), strict=True)
    ]


def logits(rows=5, classes=50, dtype=torch.float32, scale=3.0):
    rng = np.random.default_rng([rows, classes])
    t = torch.tensor(rng.normal(scale=scale, size=(rows, classes)))
    return t.to(dtype), torch.tensor(rng.integers(classes, size=rows))


@pytest.mark.parametrize("classes", [1, 2, 3, 16, 17, 300, 3000])
def test_any_number_of_classes(classes, sort):
    t, y = logits(classes=classes)
    ranking = pld.label_first(t, y)
    assert ranking.dtype == torch.int64
    assert ranking.tolist() == by_hand(t, y)


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-3, 1e30])
def test_any_size_of_logits(scale, sort):
    """Subnormal numbers included."""
    t, y = logits(scale=1.0)
    t = t * scale
    assert pld.label_first(t, y).tolist() == by_hand(t, y)


def test_neighbouring_floats_are_told_apart(sort):
    t = torch.tensor([[1.0, -1.0, 2.0**-126, 0.0, -(2.0**-149)]])
    t = torch.cat([t, torch.nextafter(t, torch.tensor(9.0)), torch.nextafter(t, -t - 1)], dim=-1)
    for label in range(t.shape[1]):
        y = torch.tensor([label])
        assert pld.label_first(t, y).tolist() == by_hand(t, y)


def test_ties_keep_the_lower_index_first(sort):
    t, y = logits()
    t = t.round()
    assert pld.label_first(t, y).tolist() == by_hand(t, y)


def test_zeros_of_both_signs_are_equal(sort):
    t = torch.tensor([[0.0, -0.0, 0.0, 1.0, -0.0, -1.0], [-0.0, 0.0, -0.0, 0.0, 2.0, 0.0]])
    y = torch.tensor([4, 5])
    assert pld.label_first(t, y).tolist() == [[4, 3, 0, 1, 2, 5], [5, 4, 0, 1, 2, 3]]


def test_masked_classes_come_last_even_beside_the_lowest_number(sort):
    t = torch.tensor([[-torch.inf, torch.finfo(torch.float32).min, -torch.inf, 0.0]])
    assert pld.label_first(t, torch.tensor([3])).tolist() == [[3, 1, 0, 2]]
    assert pld.label_first(t, torch.tensor([2])).tolist() == [[2, 3, 1, 0]]


def test_label_comes_before_the_largest_number(sort):
    t = torch.tensor([[torch.finfo(torch.float32).max, 0.0]])
    assert pld.label_first(t, torch.tensor([1])).tolist() == [[1, 0]]


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_teachers_tie_often(dtype, sort):
    t, y = logits(classes=200, dtype=dtype)
    assert all(len(set(row)) < 200 for row in t.tolist())
    assert pld.label_first(t.float(), y).tolist() == by_hand(t, y)


def test_float64_teachers_keep_all_their_digits(sort):
    t, y = logits(dtype=torch.float64)
    t[:, 1::2] = t[:, ::2] + 1e-12
    assert len(set(t[0].float().tolist())) < t.shape[1]
    assert pld.label_first(t, y).tolist() == by_hand(t, y)


def test_agrees_with_the_reference(sort):
    t, y = logits(rows=20, classes=100)
    t = (2 * t).round() / 2
    expected = reference.teacher_ranking(t.double().numpy(), y.numpy())
    np.testing.assert_array_equal(pld.label_first(t, y), expected)


def test_teacher_is_not_changed(sort):
    t, y = logits()
    copy = t.clone()
    pld.label_first(t, y)
    assert torch.equal(t, copy)
