"""Cached targets: the same numbers without a teacher."""

from math import inf, nan

import numpy as np
import pytest
import torch

from pld_edu import fast, losses, reference
from pld_edu.fast import pld, targets
from tests.support import cases, exact
from tests.support.tolerances import BY_DTYPE

TOLERANCE = BY_DTYPE["float32"]


def batch(lead=(6,), classes=9, scale=2.0):
    s, t, y = cases.batch(lead, classes=classes, scale=scale)
    return torch.tensor(s).float(), torch.tensor(t).float(), torch.tensor(y)


def value_and_gradient(s, cached, **options):
    leaf = s.clone().requires_grad_()
    value = fast.pld_loss_from_targets(leaf, cached, **options)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("classes", [1, 2, 9, 600])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("weights", cases.WEIGHTS)
def test_loss_and_gradient_in_60_digits(weights, scale, classes):
    s, t, y = batch((2,), classes=classes, scale=scale)
    t = 3 * t / scale
    cached = fast.TeacherTargets.compute(t, y, temperature=2.0, weights=weights)
    loss, gradient = value_and_gradient(s, cached, reduction="none")
    for row, single in enumerate(cases.singles(s.double(), t.double(), y)):
        truth, slope = exact.pld(*single, 2.0, weights)
        assert exact.loss_error(loss[row], truth) < TOLERANCE.loss
        assert exact.gradient_error(gradient[row], slope) < TOLERANCE.gradient


@pytest.mark.parametrize("lead", cases.LEADS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_equals_the_live_teacher_over_any_leading_shape(lead, reduction):
    s, t, y = batch(lead)
    loss, gradient = value_and_gradient(s, fast.TeacherTargets.compute(t, y), reduction=reduction)
    leaf = s.clone().requires_grad_()
    live = fast.pld_loss(leaf, t, y, reduction=reduction)
    live.sum().backward()
    torch.testing.assert_close(loss, live.detach(), rtol=TOLERANCE.loss, atol=0)
    torch.testing.assert_close(gradient, leaf.grad, rtol=0, atol=TOLERANCE.gradient)


def test_a_step_from_targets_sorts_nothing(monkeypatch):
    s, t, y = batch()
    cached = fast.TeacherTargets.compute(t, y)
    expected = value_and_gradient(s, cached)

    def sorts(*_):
        raise AssertionError("sorted")

    monkeypatch.setattr(pld, "label_first", sorts)
    with pytest.raises(AssertionError, match="sorted"):
        fast.pld_loss(s, t, y)
    assert all(map(torch.equal, value_and_gradient(s, cached), expected))


def test_rankings_are_those_of_the_reference_and_small():
    _, t, y = batch(classes=300)
    cached = fast.TeacherTargets.compute(t.round(), y)
    expected = reference.teacher_ranking(t.round().double().numpy(), y.numpy())
    np.testing.assert_array_equal(cached.ranking, expected)
    assert cached.ranking.dtype == torch.int16
    assert cached.weights.dtype == torch.float32
    assert len(cached) == 6


@pytest.mark.parametrize("classes", [40_000, 65_536, 65_537])
def test_classes_beyond_15_and_16_bits(classes):
    s, t, y = batch((2,), classes=classes)
    y[0] = classes - 1
    cached = fast.TeacherTargets.compute(t, y)
    bits = 16 if classes <= 65_536 else 32
    assert torch.iinfo(cached.ranking.dtype).bits == bits
    assert torch.equal(cached.ranking.long() & 2**bits - 1, losses.teacher_ranking(t, y))
    loss, gradient = value_and_gradient(s, cached)
    leaf = s.clone().requires_grad_()
    live = fast.pld_loss(leaf, t, y)
    live.backward()
    assert loss.item() == pytest.approx(live.item(), rel=TOLERANCE.loss)
    torch.testing.assert_close(gradient, leaf.grad, rtol=0, atol=1e-9)
    far = fast.pld_loss_from_targets(1000 * s, cached)  # by `losses`
    assert far.item() == pytest.approx(losses.pld_loss(1000 * s, t, y).item(), rel=TOLERANCE.loss)


def test_given_weights_are_kept_in_rank_order():
    s, t, y = batch()
    alpha = torch.rand(6, 9, dtype=torch.float64)
    cached = fast.TeacherTargets.compute(t, y, weights=alpha)
    torch.testing.assert_close(cached.weights, alpha.float(), rtol=0, atol=0)
    expected = fast.pld_loss(s, t, y, weights=alpha)
    torch.testing.assert_close(value_and_gradient(s, cached)[0], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("lead", [(6,), (3, 2)])
def test_targets_are_computed_in_blocks(lead, monkeypatch):
    _, t, y = batch(lead)
    whole = fast.TeacherTargets.compute(t, y)
    monkeypatch.setattr(targets, "BLOCK", 20)
    parts = fast.TeacherTargets.compute(t, y)
    assert torch.equal(whole.ranking, parts.ranking)
    assert torch.equal(whole.weights, parts.weights)
    with pytest.raises(ValueError, match="one entry per row"):
        fast.TeacherTargets.compute(t, torch.cat([y, y]))


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("classes", [1, 2, 9])
def test_targets_kept_as_the_documentation_says_give_the_same_batches(mmap, classes, tmp_path):
    s, t, y = batch(classes=classes)
    cached = fast.TeacherTargets.compute(t, y)
    torch.save(vars(cached), tmp_path / "targets")
    loaded = fast.TeacherTargets(**torch.load(tmp_path / "targets", mmap=mmap))
    assert len(loaded) == 6
    for chosen in (3, slice(1, 5), torch.tensor([5, 0, 0]), torch.tensor([True, False] * 3)):
        ours, theirs = loaded[chosen], cached[chosen]
        assert torch.equal(ours.ranking, theirs.ranking)
        assert torch.equal(ours.weights, theirs.weights)
        got, wanted = value_and_gradient(s[chosen], ours), value_and_gradient(s[chosen], theirs)
        assert all(map(torch.equal, got, wanted))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t": [[0.0, nan]]}, "teacher_logits must be finite, got nan"),
        ({"t": [[0.0, -inf]]}, r"teacher_logits must be finite, got -inf at index \[0, 1\]"),
        ({"t": [[0, 1]]}, "teacher_logits must be floating point"),
        ({"t": [[]]}, "C >= 1 classes"),
        ({"y": [2]}, r"labels must lie in 0\.\.1 for 2 classes, got 2"),
        ({"y": [-100]}, r"labels must lie in 0\.\.1 for 2 classes, got -100"),
        ({"y": [0.0]}, "labels must be integer class indices"),
        ({"y": [0, 0]}, "one entry per row"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"weights": "all"}, "weights must be one of"),
        ({"weights": torch.tensor([[1.0, -1.0]])}, "weights must be finite and not negative"),
        ({"weights": torch.ones(2)}, "weights in rank order must have the shape"),
    ],
)
def test_compute_refuses(changes, message):
    arguments = {"t": [[0.0, 1.0]], "y": [0]} | changes
    t, y = torch.tensor(arguments.pop("t")), torch.tensor(arguments.pop("y"))
    with pytest.raises(ValueError, match=message):
        fast.TeacherTargets.compute(t, y, **arguments)


def test_the_loss_refuses():
    s, t, y = batch()
    cached = fast.TeacherTargets.compute(t, y)
    with pytest.raises(ValueError, match=r"same shape, got \(5, 9\) and \(6, 9\).*targets\[rows\]"):
        fast.pld_loss_from_targets(s[:5], cached)
    with pytest.raises(ValueError, match="targets must be TeacherTargets, got Tensor"):
        fast.pld_loss_from_targets(s, t)
    with pytest.raises(ValueError, match=r"student_logits must be a torch\.Tensor"):
        fast.pld_loss_from_targets(s.numpy(), cached)
    with pytest.raises(ValueError, match="reduction must be one of"):
        fast.pld_loss_from_targets(s, cached, reduction="batchmean")
    with pytest.raises(ValueError, match="the batch is empty"):
        fast.pld_loss_from_targets(s[:0], cached[:0])
    for value in (nan, inf, -inf):
        s[1, 2] = value
        with pytest.raises(ValueError, match=r"student_logits must be finite.*index \[1, 2\]"):
            fast.pld_loss_from_targets(s, cached)
