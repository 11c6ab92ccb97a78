"""PLD's value, gradient and Hessian in NumPy against 60 digits, differences and autograd."""

from math import exp, log, log1p, nan

import numpy as np
import pytest
import torch
from scipy.special import gammaln, softmax

from pld_edu import reference
from tests.support import cases, exact
from tests.support.tolerances import DIFFERENCES, FLOAT64


def paper_listing(s, t, y, temperature):
    """One row, as in the paper's App. C: an ascending order's running log-sum-exp is the tail's."""
    ascending = t.argsort()
    order = torch.cat([ascending[ascending != y], torch.tensor([y])])
    ranked = s[order]
    return ((t / temperature).softmax(-1)[order] * (ranked.logcumsumexp(-1) - ranked)).sum()


@pytest.mark.parametrize("case", cases.CARD, ids=lambda case: case.name)
def test_inputs_on_which_public_implementations_fail(case):
    arguments = (case.s, case.t, case.y)
    truth, slope = exact.pld(*arguments, case.temperature)
    loss = reference.pld_loss(*arguments, temperature=case.temperature)
    gradient = reference.pld_gradient(*arguments, temperature=case.temperature)
    assert exact.loss_error(loss, truth) < FLOAT64
    assert exact.gradient_error(gradient, slope) < FLOAT64
    assert loss == pytest.approx(case.loss, rel=1e-5)
    for i, g in case.gradient.items():
        assert gradient[i] == pytest.approx(g, rel=0.02)
        assert gradient[i] == pytest.approx(float(slope[i]), rel=1e-10)


def test_batch_of_case_b():
    s, t, y = cases.CASE_B
    assert reference.pld_loss(s, t, y) == pytest.approx(1.79443, rel=5e-6)


def test_base_case_by_hand():
    a, b, c = exp(0.5), exp(2), exp(-1)
    by_hand = (c * log(1 + exp(-1) + exp(-2)) + b * log(1 + exp(-1))) / (a + b + c)
    assert reference.pld_loss([1, 2, 3], [0.5, 2, -1], 2) == pytest.approx(by_hand, rel=FLOAT64)


def test_student_without_a_preference():
    """At s = 0 choice k costs log(C - k + 1), whatever the order."""
    _, t, y = cases.batch((3,), classes=6)
    ranking = reference.teacher_ranking(t, y)
    alpha = np.take_along_axis(softmax(t / 2, axis=-1), ranking, axis=-1)
    losses = reference.pld_loss(np.zeros((3, 6)), t, y, temperature=2.0, reduction="none")
    np.testing.assert_allclose(losses, alpha @ np.log([6, 5, 4, 3, 2, 1]), rtol=FLOAT64)


def test_teacher_without_a_preference_is_list_mle():
    s = np.random.default_rng(0).normal(size=5)
    literal = sum(np.log(np.exp(s[k:]).sum()) - s[k] for k in range(5))
    assert reference.pld_loss(s, np.zeros(5), 0) == pytest.approx(literal / 5, rel=FLOAT64)


@pytest.mark.parametrize("classes", cases.CLASSES)
@pytest.mark.parametrize("student", cases.STUDENTS)
@pytest.mark.parametrize("scale", cases.SCALES)
def test_loss_and_gradient_in_60_digits(classes, scale, student):
    s, t, y = cases.rows(classes, scale, student)
    losses = reference.pld_loss(s, t, y, temperature=2.0, reduction="none")
    gradients = reference.pld_gradient(s, t, y, temperature=2.0, reduction="none")
    for row, (truth, slope) in enumerate(cases.truths(classes, scale, student)):
        assert exact.loss_error(losses[row], truth) < FLOAT64
        assert exact.gradient_error(gradients[row], slope) < FLOAT64


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32, list])
def test_any_real_input_is_computed_in_double(dtype):
    s, t, y = cases.batch((3,), scale=4.0)
    s, t = (z.round(1).astype(np.float16 if dtype is list else dtype) for z in (s, t))
    given = (s.tolist(), t.tolist(), y.tolist()) if dtype is list else (s, t, y)
    losses = reference.pld_loss(*given, reduction="none")
    assert losses.dtype == np.float64
    for loss, row in zip(losses, cases.singles(s, t, y), strict=True):
        assert exact.loss_error(loss, exact.pld(*row)[0]) < FLOAT64


@pytest.mark.parametrize("name", cases.WEIGHTS)
@pytest.mark.parametrize("classes", [2, 7, 100])
def test_each_choice_of_weights_in_60_digits(name, classes):
    s, t, y = cases.rows(classes, 10.0, "differs")
    options = {"temperature": 3.0, "weights": name, "reduction": "none"}
    losses = reference.pld_loss(s, t, y, **options)
    gradients = reference.pld_gradient(s, t, y, **options)
    alpha = reference.rank_weights(
        t, reference.teacher_ranking(t, y), temperature=3.0, weights=name
    )
    for row, (a, b, label) in enumerate(cases.singles(s, t, y)):
        truth, slope = exact.pld(a, b, label, 3.0, name)
        weights = exact.weights(name, b, exact.ranking(b, label), 3.0)
        assert exact.loss_error(losses[row], truth) < FLOAT64
        assert exact.gradient_error(gradients[row], slope) < FLOAT64
        np.testing.assert_allclose(alpha[row], np.array(weights, float), rtol=FLOAT64)


def test_weights_given_in_rank_order():
    s, t, y = cases.batch((2, 3))
    alpha = np.random.default_rng(1).exponential(size=t.shape)
    alpha[0, 0, 2] = 0.0
    losses = reference.pld_loss(s, t, y, weights=alpha, reduction="none")
    gradients = reference.pld_gradient(s, t, y, weights=alpha, reduction="none")
    for i, j in np.ndindex(2, 3):
        row = (s[i, j].tolist(), t[i, j].tolist(), int(y[i, j]))
        truth, slope = exact.pld(*row, alpha=alpha[i, j].tolist())
        assert exact.loss_error(losses[i, j], truth) < FLOAT64
        assert exact.gradient_error(gradients[i, j], slope) < FLOAT64


def test_position_weights_for_many_classes_stay_finite():
    alpha = reference.rank_weights(np.zeros(2000), np.arange(2000), weights="position")
    np.testing.assert_allclose(alpha[:40], 2.0 ** -np.arange(1, 41), rtol=FLOAT64)
    assert alpha.sum() == pytest.approx(1, rel=FLOAT64)


@pytest.mark.parametrize("lead", cases.LEADS)
def test_teacher_ranking_is_label_first_then_stable(lead):
    _, t, y = cases.batch(lead, classes=9)
    t = t.round()  # many ties
    ranking = reference.teacher_ranking(t, y)
    assert ranking.shape == t.shape
    for index in np.ndindex(lead):
        assert ranking[index].tolist() == exact.ranking(t[index].tolist(), int(y[index]))


@pytest.mark.parametrize(
    ("t", "y", "ranking"),
    [
        ([1, 1, 1, 0], 3, [3, 0, 1, 2]),
        ([0.0, -0.0, 0.0], 1, [1, 0, 2]),
        ([5, -np.inf, 7, -np.inf], 0, [0, 2, 1, 3]),
        ([3.0], 0, [0]),
        ([1e308, 1.5e308, -1e308], 2, [2, 1, 0]),
    ],
)
def test_teacher_rankings_by_hand(t, y, ranking):
    assert reference.teacher_ranking(t, y).tolist() == ranking


@pytest.mark.parametrize("lead", cases.LEADS)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_reductions_over_any_leading_shape(lead, reduction):
    s, t, y = cases.batch(lead)
    truths = [exact.pld(*row) for row in cases.singles(s, t, y)]
    share = 1 / len(truths) if reduction == "mean" else 1
    losses, slopes = np.array([loss for loss, _ in truths], float), [g for _, g in truths]
    loss = reference.pld_loss(s, t, y, reduction=reduction)
    expected = losses.reshape(lead) if reduction == "none" else losses.sum() * share
    assert np.shape(loss) == np.shape(expected)
    np.testing.assert_allclose(loss, expected, rtol=FLOAT64)
    gradient = reference.pld_gradient(s, t, y, reduction=reduction)
    expected = np.array(slopes, float).reshape(s.shape) * share
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=FLOAT64)
    hessian = reference.pld_hessian(s, t, y, reduction=reduction)
    assert hessian.shape == (*s.shape, s.shape[-1])
    first = exact.pld_hessian(*cases.singles(s, t, y)[0])
    np.testing.assert_allclose(
        hessian[(0,) * len(lead)], np.array(first, float) * share, rtol=0, atol=FLOAT64
    )


@pytest.mark.parametrize("scale", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("student", cases.STUDENTS)
def test_derivatives_are_central_differences(scale, student):
    s, t, y = (z[0] for z in cases.rows(10, scale, student))
    step, options = 1e-5, {"temperature": 2.0}
    gradient = reference.pld_gradient(s, t, y, **options)
    hessian = reference.pld_hessian(s, t, y, **options)
    for i, e in enumerate(step * np.eye(10)):
        up, down = (reference.pld_loss(z, t, y, **options) for z in (s + e, s - e))
        assert gradient[i] == pytest.approx((up - down) / (2 * step), abs=DIFFERENCES)
        up, down = (reference.pld_gradient(z, t, y, **options) for z in (s + e, s - e))
        np.testing.assert_allclose(hessian[i], (up - down) / (2 * step), rtol=0, atol=DIFFERENCES)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("student", cases.STUDENTS)
def test_hessian_in_60_digits(scale, student):
    s, t, y = (z[:1] for z in cases.rows(7, scale, student, count=1))
    hessian = reference.pld_hessian(s, t, y, temperature=2.0)[0]
    truth = exact.pld_hessian(*cases.singles(s, t, y)[0], temperature=2.0)
    assert exact.gradient_error(hessian.ravel(), [h for row in truth for h in row]) < FLOAT64


def test_derivatives_are_autograd_of_the_papers_listing():
    s, t, y = cases.batch((4,), classes=6)
    for row in range(4):
        a, b = torch.tensor(s[row]), torch.tensor(t[row])

        def listing(z, b=b, label=int(y[row])):
            return paper_listing(z, b, label, 2.0)

        given = (s[row], t[row], y[row])
        loss = reference.pld_loss(*given, temperature=2.0)
        gradient = reference.pld_gradient(*given, temperature=2.0)
        hessian = reference.pld_hessian(*given, temperature=2.0)
        assert loss == pytest.approx(float(listing(a)), rel=FLOAT64)
        np.testing.assert_allclose(gradient, torch.func.grad(listing)(a), rtol=0, atol=FLOAT64)
        np.testing.assert_allclose(hessian, torch.func.hessian(listing)(a), rtol=0, atol=FLOAT64)


@pytest.mark.parametrize("weights", cases.WEIGHTS)
@pytest.mark.parametrize("scale", [1.0, 20.0, 1e3])
def test_hessian_is_positive_semidefinite_with_null_vector_one_and_norm_one_half(weights, scale):
    s, t, y = cases.batch((20,), classes=6, scale=scale)
    blocks = reference.pld_hessian(s, t, y, weights=weights, reduction="none")
    eigenvalues = np.linalg.eigvalsh(blocks)
    assert eigenvalues.min() > -1e-15
    assert 0.01 < eigenvalues.max() <= 0.5 + 1e-15
    np.testing.assert_allclose(blocks.sum(axis=-1), 0, atol=1e-15)
    np.testing.assert_array_equal(blocks, np.swapaxes(blocks, -1, -2))


def test_largest_curvature_is_one_half():
    """Two classes at equal logits: [[1, -1], [-1, 1]] / 4."""
    hessian = reference.pld_hessian([0, 0], [0, 0], 0, weights="one-hot")
    np.testing.assert_allclose(hessian, [[0.25, -0.25], [-0.25, 0.25]], rtol=FLOAT64)


@pytest.mark.parametrize("scale", [2.0, 300.0])
@pytest.mark.parametrize("weights", ["teacher", "label", "one-hot"])
def test_masked_classes_take_no_part(weights, scale):
    s, t, y = cases.batch((3,), classes=6, scale=scale)
    s[:, [1, 4]] = t[:, [1, 4]] = -np.inf
    left = [0, 2, 3, 5]
    y, y_left = np.array([0, 3, 5]), np.array([0, 2, 3])
    options = {"weights": weights, "temperature": 1.5}
    fewer = (s[:, left], t[:, left], y_left)
    assert reference.pld_loss(s, t, y, **options) == pytest.approx(
        reference.pld_loss(*fewer, **options), rel=FLOAT64
    )
    expected = np.zeros((3, 6))
    expected[:, left] = reference.pld_gradient(*fewer, **options)
    np.testing.assert_allclose(reference.pld_gradient(s, t, y, **options), expected, atol=1e-15)
    expected = np.zeros((3, 6, 6))
    expected[:, np.array(left)[:, None], left] = reference.pld_hessian(*fewer, **options)
    np.testing.assert_allclose(reference.pld_hessian(s, t, y, **options), expected, atol=1e-15)
    truth = sum(exact.pld(*row, 1.5, weights)[0] for row in cases.singles(*fewer)) / 3
    assert exact.loss_error(reference.pld_loss(s, t, y, **options), truth) < FLOAT64


def test_weights_of_masked_ranks_are_dropped():
    s, t, y = [1.0, -np.inf, 3.0, 0.5], [0.5, -np.inf, -1.0, 2.0], 2
    left, alpha = ([1.0, 3.0, 0.5], [0.5, -1.0, 2.0], 1), [0.5, 2.0, 0.25]
    for weights, given in ((np.array([*alpha, 7.0]), alpha), ("uniform", [1 / 4] * 3)):
        truth, slope = exact.pld(*left, alpha=given)
        assert exact.loss_error(reference.pld_loss(s, t, y, weights=weights), truth) < FLOAT64
        gradient = reference.pld_gradient(s, t, y, weights=weights)
        assert exact.gradient_error(gradient[[0, 2, 3]], slope) < FLOAT64
        assert gradient[1] == 0


def test_class_masked_in_the_teacher_alone_ranks_last_with_weight_zero():
    s, t, y = [1.0, 4.0, 3.0, 0.5], [0.5, -np.inf, -1.0, -np.inf], 2
    q = 1 / (1 + exp(1.5))  # the label's weight; class 0 has 1 - q, classes 1 and 3 nothing
    step_1 = log1p(exp(-2) + exp(1) + exp(-2.5))
    step_2 = log1p(exp(3) + exp(-0.5))
    loss = reference.pld_loss(s, t, y)
    assert loss == pytest.approx(q * step_1 + (1 - q) * step_2, rel=FLOAT64)
    truth, slope = exact.pld(s, [0.5, -1e6, -1.0, -1e6], y)
    assert exact.loss_error(loss, truth) < FLOAT64
    assert exact.gradient_error(reference.pld_gradient(s, t, y), slope) < FLOAT64


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ignore_index", [-100, 255, 1])
def test_ignored_rows_count_for_nothing_whatever_they_hold(ignore_index):
    s, t, y = cases.batch((5,), classes=4)
    y[:] = [0, ignore_index, 2, 3, ignore_index]
    s[1], t[1], s[4], t[4] = nan, np.inf, np.inf, nan
    kept = [0, 2, 3]
    few = (s[kept], t[kept], y[kept])
    options = {"ignore_index": ignore_index}
    for reduction in ("mean", "sum"):
        loss = reference.pld_loss(s, t, y, reduction=reduction, **options)
        assert loss == pytest.approx(reference.pld_loss(*few, reduction=reduction), rel=FLOAT64)
    rows = reference.pld_loss(s, t, y, reduction="none", **options)
    np.testing.assert_array_equal(rows[[1, 4]], 0)
    for derivative in (reference.pld_gradient, reference.pld_hessian):
        value = derivative(s, t, y, **options)
        np.testing.assert_array_equal(value[[1, 4]], 0)
        np.testing.assert_allclose(value[kept], derivative(*few), rtol=FLOAT64, atol=1e-16)


def test_all_rows_ignored_is_what_cross_entropy_makes_of_it():
    s, y = torch.randn(2, 3, requires_grad=True), torch.tensor([-100, -100])
    theirs = torch.nn.functional.cross_entropy(s, y)
    theirs.backward()
    given = (s.detach().numpy(), s.detach().numpy(), y.numpy())
    np.testing.assert_equal(reference.pld_loss(*given), theirs.item())
    np.testing.assert_equal(reference.pld_loss(*given, reduction="sum"), 0.0)
    np.testing.assert_array_equal(reference.pld_gradient(*given), s.grad.numpy())


@pytest.mark.parametrize("weights", cases.WEIGHTS)
def test_one_class_costs_nothing(weights):
    given = ([[3.0], [-5.0]], [[1.0], [2.0]], [0, 0])
    losses = reference.pld_loss(*given, weights=weights, reduction="none")
    np.testing.assert_array_equal(losses, [0, 0])
    np.testing.assert_array_equal(reference.pld_gradient(*given, weights=weights), [[0], [0]])
    np.testing.assert_array_equal(reference.pld_hessian(*given, weights=weights), [[[0]], [[0]]])


def test_empty_batch_has_a_sum_and_no_rows():
    given = (np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, int))
    assert reference.pld_loss(*given, reduction="sum") == 0.0
    assert reference.pld_loss(*given, reduction="none").shape == (0,)
    assert reference.pld_gradient(*given, reduction="sum").shape == (0, 3)


def test_arguments_are_not_changed():
    s, t, y = cases.batch((3,))
    copies = [z.copy() for z in (s, t, y)]
    for f in (reference.pld_loss, reference.pld_gradient, reference.pld_hessian):
        f(s, t, y, weights=np.ones(s.shape))
    for z, copy in zip((s, t, y), copies, strict=True):
        np.testing.assert_array_equal(z, copy)


def test_uniform_weights_and_student_give_log_factorial():
    loss = reference.pld_loss(np.zeros(100), np.arange(100.0), 7, weights="uniform")
    assert loss == pytest.approx(gammaln(101) / 100, rel=FLOAT64)


def test_weights_survive_a_tiny_temperature():
    t = [[1e10, 2.0], [3.0, 3.0]]
    ranking = reference.teacher_ranking(t, [0, 0])
    weights = reference.rank_weights(t, ranking, temperature=1e-300)
    assert weights.tolist() == [[1.0, 0.0], [0.5, 0.5]]
