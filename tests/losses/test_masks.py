"""Classes and rows that take no part in PLD of `losses` and `fast`: masked, or ignored."""

from math import inf, nan

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.support import cases, exact
from tests.support.pld_calls import each_package, tensors, value_and_gradient
from tests.support.tolerances import FLOAT64


@each_package
@pytest.mark.parametrize("scale", [2.0, 300.0])
@pytest.mark.parametrize("weights", ["teacher", "label", "one-hot"])
def test_masked_classes_take_no_part(package, weights, scale):
    s, t, y = cases.batch((3,), classes=6, scale=scale)
    y[:] = [0, 3, 5]
    left, y_left = [0, 2, 3, 5], [0, 2, 3]
    fewer, fewer_t = s[:, left], t[:, left]
    s[:, [1, 4]] = t[:, [1, 4]] = -inf
    options = {"weights": weights, "temperature": 1.5}
    rows = cases.singles(fewer, fewer_t, np.array(y_left))
    truths = [exact.pld(*row, 1.5, weights) for row in rows]
    loss, gradient = value_and_gradient(*tensors(s, t, y), package, **options)
    assert exact.loss_error(loss, sum(truth for truth, _ in truths) / 3) < FLOAT64
    expected = np.zeros((3, 6))
    expected[:, left] = np.array([slope for _, slope in truths], float) / 3
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=FLOAT64)

    def curvature(a, b, label):
        b, label = torch.tensor(b), torch.tensor(label)
        return torch.func.hessian(lambda z: package.pld_loss(z, b, label, **options))(
            torch.tensor(a)
        )

    hessian = curvature(s, t, y)
    without = curvature(fewer, fewer_t, y_left)
    assert not hessian.isnan().any()
    index = torch.tensor(left)
    kept = hessian[:, index][..., index]
    torch.testing.assert_close(kept, without, rtol=0, atol=FLOAT64)
    torch.testing.assert_close(hessian.abs().sum(), without.abs().sum(), rtol=FLOAT64, atol=0)


@each_package
def test_weights_of_masked_ranks_are_dropped(package):
    s, t, y = tensors([1.0, -inf, 3.0, 0.5, -inf], [0.5, -inf, -1.0, 2.0, -inf], 2)
    left, alpha = ([1.0, 3.0, 0.5], [0.5, -1.0, 2.0], 1), [0.5, 2.0, 0.25]
    array = torch.tensor([*alpha, 7.0, 3.0])
    for weights, wanted in ((array, alpha), ("uniform", [1 / 5] * 3)):
        truth, slope = exact.pld(*left, alpha=wanted)
        loss, gradient = value_and_gradient(s, t, y, package, weights=weights)
        assert exact.loss_error(loss, truth) < FLOAT64
        assert exact.gradient_error(gradient[[0, 2, 3]], slope) < FLOAT64
        assert gradient[[1, 4]].tolist() == [0, 0]


@each_package
def test_class_masked_in_the_teacher_alone_ranks_last_with_weight_zero(package):
    s, t, y = [1.0, 4.0, 3.0, 0.5], [0.5, -inf, -1.0, -inf], 2
    truth, slope = exact.pld(s, [0.5, -1e6, -1.0, -1e6], y)
    loss, gradient = value_and_gradient(*tensors(s, t, y), package)
    assert exact.loss_error(loss, truth) < FLOAT64
    assert exact.gradient_error(gradient, slope) < FLOAT64


@each_package
@pytest.mark.parametrize("masked", [[1], [1, 3], [0, 1, 3]])
def test_rows_mask_their_own_classes(package, masked):
    """One row masked, one not, and classes that only the teacher masks between the others."""
    s, t, y = cases.batch((2,), classes=5)
    y[:] = [2, 2]
    s[0, masked] = t[0, masked] = -inf
    t[0, 4] = -inf
    truths = [exact.pld(*row) for row in cases.singles(s[1:], t[1:], y[1:])]
    finite = np.where(t[:1] == -inf, -1e6, t[:1])
    gone = [i for i in range(5) if i not in masked]
    few = (s[0, gone].tolist(), finite[0, gone].tolist(), gone.index(2))
    truths.insert(0, exact.pld(*few))
    loss, gradient = value_and_gradient(*tensors(s, t, y), package, reduction="none")
    for row in range(2):
        assert exact.loss_error(loss[row], truths[row][0]) < FLOAT64
    assert exact.gradient_error(gradient[0, gone], truths[0][1]) < FLOAT64
    assert (gradient[0, masked] == 0).all()
    assert exact.gradient_error(gradient[1], truths[1][1]) < FLOAT64


@each_package
@pytest.mark.parametrize("ignore_index", [-100, 255, 1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_rows_count_for_nothing_whatever_they_hold(package, ignore_index, reduction):
    arrays = cases.batch((5,), classes=4)
    arrays.y[:] = [0, ignore_index, 2, 3, ignore_index]
    kept = [0, 2, 3]
    truths = [exact.pld(*row) for row in cases.singles(*(z[kept] for z in arrays))]
    arrays.s[1], arrays.t[1], arrays.s[4], arrays.t[4] = nan, inf, -inf, nan
    options = {"ignore_index": ignore_index, "reduction": reduction}
    loss, gradient = value_and_gradient(*tensors(*arrays), package, **options)
    share = 1 / 3 if reduction == "mean" else 1
    if reduction == "none":
        np.testing.assert_array_equal(loss[[1, 4]], 0)
        loss = loss.sum()
    assert exact.loss_error(loss, sum(truth for truth, _ in truths) * share) < FLOAT64
    np.testing.assert_array_equal(gradient[[1, 4]], 0)
    expected = np.array([slope for _, slope in truths], float) * share
    np.testing.assert_allclose(gradient[kept], expected, rtol=0, atol=FLOAT64)


@each_package
def test_all_rows_ignored_is_what_cross_entropy_makes_of_it(package):
    s, t, y = tensors(*cases.batch((2,)))
    y[:] = -100
    loss, gradient = value_and_gradient(s, t, y, package)
    theirs = F.cross_entropy(s, y)
    (their_gradient,) = torch.autograd.grad(theirs, s)
    np.testing.assert_equal(loss.item(), theirs.item())
    np.testing.assert_array_equal(gradient, their_gradient)
    assert package.pld_loss(s, t, y, reduction="sum").item() == 0
