"""PLD of `losses` and `fast`: loss and derivatives in 60 digits, by differences, by `reference`."""

from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from pld_edu import losses, reference
from tests.support import cases, exact
from tests.support.pld_calls import each_package, tensors, value_and_gradient
from tests.support.tolerances import BY_DTYPE, DIFFERENCES, FLOAT64

DTYPES = {"float64": torch.float64, "float32": torch.float32}
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@each_package
@pytest.mark.parametrize("case", cases.CARD, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_on_which_public_implementations_fail(package, case, dtype):
    tolerance = BY_DTYPE[dtype]
    s, t, y = tensors(case.s, case.t, case.y, dtype=DTYPES[dtype])
    truth, slope = exact.pld(s.tolist(), t.tolist(), case.y, case.temperature)
    loss, gradient = value_and_gradient(s, t, y, package, temperature=case.temperature)
    assert loss.dtype == DTYPES[dtype]
    assert exact.loss_error(loss, truth) < tolerance.loss
    assert exact.gradient_error(gradient, slope) < tolerance.gradient
    assert loss.item() == pytest.approx(case.loss, rel=1e-5)
    for i, g in case.gradient.items():
        assert gradient[i].item() == pytest.approx(g, rel=0.02)
        assert gradient[i].item() == pytest.approx(float(slope[i]), rel=tolerance.gradient)


@each_package
@pytest.mark.parametrize("case", cases.CARD, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_inputs_give_a_float32_loss(package, case, dtype):
    """The truth is that of the inputs as the dtype rounds them."""
    tolerance, dtype = BY_DTYPE[dtype], HALVES[dtype]
    s, t, y = tensors(case.s, case.t, case.y, dtype=dtype)
    truth, slope = exact.pld(s.tolist(), t.tolist(), case.y, case.temperature)
    loss, gradient = value_and_gradient(s, t, y, package, temperature=case.temperature)
    assert loss.dtype == torch.float32
    assert exact.loss_error(loss, truth) < tolerance.loss
    rounded = torch.tensor(np.array(slope, float)).to(dtype)
    subnormal = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    torch.testing.assert_close(gradient, rounded, rtol=tolerance.gradient, atol=subnormal)


@each_package
def test_batch_of_case_b(package):
    assert package.pld_loss(*tensors(*cases.CASE_B)).item() == pytest.approx(1.79443, rel=5e-6)


@each_package
def test_base_case_by_hand(package):
    a, b, c = exp(0.5), exp(2), exp(-1)
    by_hand = (c * log(1 + exp(-1) + exp(-2)) + b * log(1 + exp(-1))) / (a + b + c)
    loss = package.pld_loss(*tensors([1, 2, 3], [0.5, 2, -1], 2))
    assert loss.item() == pytest.approx(by_hand, rel=FLOAT64)


@each_package
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", cases.CLASSES)
@pytest.mark.parametrize("student", cases.STUDENTS)
@pytest.mark.parametrize("scale", cases.SCALES)
def test_loss_and_gradient_in_60_digits(package, classes, scale, student, dtype):
    rows = tensors(*cases.rows(classes, scale, student, dtype), dtype=DTYPES[dtype])
    loss, gradient = value_and_gradient(*rows, package, temperature=2.0, reduction="none")
    by_formula = losses.pld_gradient(*rows, temperature=2.0, reduction="none").detach()
    assert loss.dtype == gradient.dtype == DTYPES[dtype]
    for row, (truth, slope) in enumerate(cases.truths(classes, scale, student, dtype)):
        assert exact.loss_error(loss[row], truth) < BY_DTYPE[dtype].loss
        assert exact.gradient_error(gradient[row], slope) < BY_DTYPE[dtype].gradient
        assert exact.gradient_error(by_formula[row], slope) < BY_DTYPE[dtype].gradient


@each_package
@pytest.mark.parametrize("name", cases.WEIGHTS)
@pytest.mark.parametrize("classes", [2, 7, 100])
def test_each_choice_of_weights_in_60_digits(package, name, classes):
    arrays = cases.rows(classes, 10.0, "differs")
    s, t, y = tensors(*arrays)
    options = {"temperature": 3.0, "weights": name}
    loss, gradient = value_and_gradient(s, t, y, package, reduction="none", **options)
    alpha = losses.rank_weights(t, losses.teacher_ranking(t, y), **options)
    for row, (a, b, label) in enumerate(cases.singles(*arrays)):
        truth, slope = exact.pld(a, b, label, 3.0, name)
        weights = exact.weights(name, b, exact.ranking(b, label), 3.0)
        assert exact.loss_error(loss[row], truth) < FLOAT64
        assert exact.gradient_error(gradient[row], slope) < FLOAT64
        np.testing.assert_allclose(alpha[row], np.array(weights, float), rtol=FLOAT64)


@each_package
def test_weights_given_in_rank_order(package):
    arrays = cases.batch((6,))
    alpha = np.random.default_rng(1).exponential(size=arrays.t.shape)
    alpha[0, 2] = 0.0
    options = {"weights": torch.tensor(alpha), "reduction": "none"}
    loss, gradient = value_and_gradient(*tensors(*arrays), package, **options)
    for row, single in enumerate(cases.singles(*arrays)):
        truth, slope = exact.pld(*single, alpha=alpha[row].tolist())
        assert exact.loss_error(loss[row], truth) < FLOAT64
        assert exact.gradient_error(gradient[row], slope) < FLOAT64


@pytest.mark.parametrize("classes", [1, 2, 7, 40])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_special_cases_of_pld(classes, scale):
    """Paper, Sec. 4.2, with PyTorch's own cross-entropy as the first two."""
    s, t, y = tensors(*cases.batch((6,), classes=classes, scale=scale))
    cross_entropy = F.cross_entropy(s, y, reduction="none")
    label_weight = (t / 3).softmax(-1).gather(-1, y[:, None])[:, 0]
    expected = {
        "one-hot": cross_entropy,
        "label": label_weight * cross_entropy,
        "uniform": losses.list_mle(s, t, y, reduction="none") / classes,
        "position": losses.position_list_mle(s, t, y, reduction="none"),
    }
    for weights, rows in expected.items():
        ours = losses.pld_loss(s, t, y, temperature=3.0, weights=weights, reduction="none")
        torch.testing.assert_close(ours, rows, rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize("lead", cases.LEADS)
def test_teacher_ranking_is_label_first_then_stable(lead):
    _, t, y = cases.batch(lead, classes=40)
    t = t.round()  # many ties
    ranking = losses.teacher_ranking(torch.tensor(t), torch.tensor(y))
    assert ranking.shape == t.shape
    assert ranking.dtype == torch.int64
    for index in np.ndindex(lead):
        assert ranking[index].tolist() == exact.ranking(t[index].tolist(), int(y[index]))


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_teachers_tie_by_lower_class_index(dtype):
    rng = np.random.default_rng(2)
    t = torch.tensor(rng.normal(size=(3, 100))).to(HALVES[dtype])
    assert all(len(set(row)) < 100 for row in t.tolist())
    y = torch.tensor([4, 99, 0], dtype=torch.int32)
    ranking = losses.teacher_ranking(t, y)
    for row in range(3):
        assert ranking[row].tolist() == exact.ranking(t[row].tolist(), int(y[row]))


@each_package
@pytest.mark.parametrize("lead", cases.LEADS)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_reductions_over_any_leading_shape(package, lead, reduction):
    arrays = cases.batch(lead)
    truths = [exact.pld(*row) for row in cases.singles(*arrays)]
    share = 1 / len(truths) if reduction == "mean" else 1
    rows = np.array([loss for loss, _ in truths], float)
    expected = rows.reshape(lead) if reduction == "none" else rows.sum() * share
    loss, gradient = value_and_gradient(*tensors(*arrays), package, reduction=reduction)
    assert loss.shape == np.shape(expected)
    np.testing.assert_allclose(loss, expected, rtol=FLOAT64)
    slopes = np.array([slope for _, slope in truths], float).reshape(arrays.s.shape) * share
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=FLOAT64)


@pytest.mark.parametrize("scale", [1.0, 5.0, 20.0])
def test_derivatives_are_central_differences(scale):
    s, t, y = tensors(*(z[0] for z in cases.rows(8, scale, "differs")))
    gradient = value_and_gradient(s, t, y)[1]
    hessian = torch.func.hessian(losses.pld_loss)(s.detach(), t, y)
    for i, step in enumerate(1e-5 * torch.eye(8, dtype=torch.float64)):
        up, down = (value_and_gradient(s + e, t, y) for e in (step, -step))
        assert gradient[i].item() == pytest.approx((up[0] - down[0]).item() / 2e-5, abs=DIFFERENCES)
        np.testing.assert_allclose(hessian[i], (up[1] - down[1]) / 2e-5, atol=DIFFERENCES)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("student", cases.STUDENTS)
def test_hessian_in_60_digits(scale, student):
    s, t, y = (z[:1] for z in cases.rows(7, scale, student, count=1))
    truth = exact.pld_hessian(*cases.singles(s, t, y)[0], temperature=2.0)

    def f(z):
        return losses.pld_loss(z, torch.tensor(t[0]), torch.tensor(y[0]), temperature=2.0)

    hessian = torch.func.hessian(f)(torch.tensor(s[0]))
    # Autograd takes sigma (1 - sigma) apart, so digits are measured against the bound 1/2.
    np.testing.assert_allclose(hessian, np.array(truth, float), rtol=0, atol=FLOAT64)

    def gradient(z):
        return losses.pld_gradient(z, torch.tensor(t[0]), torch.tensor(y[0]), temperature=2.0)

    jacobian = torch.func.jacrev(gradient)(torch.tensor(s[0]))
    np.testing.assert_allclose(jacobian, np.array(truth, float), rtol=0, atol=FLOAT64)


@each_package
def test_neither_teacher_nor_weights_receive_a_gradient(package):
    s, t, y = tensors(*cases.batch((4,)))
    t.requires_grad_()
    alpha = torch.ones_like(t, requires_grad=True)
    total = package.pld_loss(s, t, y) + package.pld_loss(s, t, y, weights=alpha)
    total.backward()
    assert s.grad.abs().max() > 0.01
    assert t.grad is None
    assert alpha.grad is None
    assert not losses.rank_weights(t, losses.teacher_ranking(t, y)).requires_grad


@each_package
@pytest.mark.parametrize("weights", cases.WEIGHTS)
def test_one_class_costs_nothing(package, weights):
    s, t, y = tensors([[3.0], [-5.0]], [[1.0], [2.0]], [0, 0])
    loss, gradient = value_and_gradient(s, t, y, package, weights=weights)
    assert loss.item() == 0
    assert gradient.tolist() == [[0], [0]]


@each_package
def test_empty_batch_has_a_sum_and_no_rows(package):
    s, t, y = tensors(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    loss, gradient = value_and_gradient(s, t, y, package, reduction="sum")
    assert loss.item() == 0
    assert gradient.shape == (0, 3)
    assert package.pld_loss(s, t, y, reduction="none").shape == (0,)


@each_package
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 12),
    scale=st.sampled_from(cases.SCALES),
    temperature=st.floats(0.1, 10),
    weights=st.sampled_from(cases.WEIGHTS),
    reduction=st.sampled_from(["mean", "sum", "none"]),
)
def test_two_roads_to_each_number(package, seed, classes, scale, temperature, weights, reduction):
    arrays = cases.batch((2, 2), classes=classes, scale=scale, seed=seed)
    arrays.t[:] = arrays.t.round()  # ties
    arrays.y[0, 0] = -100
    options = {"temperature": temperature, "weights": weights, "reduction": reduction}
    loss, gradient = value_and_gradient(*tensors(*arrays), package, **options)
    # The digits of tiny losses are measured in 60 digits above.
    np.testing.assert_allclose(loss, reference.pld_loss(*arrays, **options), rtol=1e-12, atol=1e-30)
    expected = reference.pld_gradient(*arrays, **options)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12)
    twin = losses.pld_gradient(*tensors(*arrays), **options).detach()
    np.testing.assert_allclose(twin, expected, rtol=0, atol=1e-12)


@each_package
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_module_is_the_function_with_its_options(package, temperature):
    case = cases.CARD[6]
    assert case.name == "A"
    s, t, y = tensors([case.s] * 3, [case.t] * 3, [case.y, case.y, 2])
    module = package.PLDLoss(temperature=temperature, ignore_index=2, reduction="sum")
    truth = 2 * exact.pld(case.s, case.t, case.y, temperature)[0]
    assert exact.loss_error(module(s, t, y), truth) < FLOAT64
    position = package.PLDLoss(weights="position")(s, t, y)
    truths = [exact.pld(case.s, case.t, label, alpha="position")[0] for label in y.tolist()]
    assert exact.loss_error(position, sum(truths) / 3) < FLOAT64
    assert list(module.parameters()) == []
    assert repr(module) == f"PLDLoss(temperature={temperature}, weights='teacher')"


def test_weights_survive_a_tiny_temperature():
    t = torch.tensor([[1e10, 2.0], [3.0, 3.0]])
    ranking = losses.teacher_ranking(t, torch.tensor([0, 0]))
    weights = losses.rank_weights(t, ranking, temperature=1e-300)
    assert weights.tolist() == [[1.0, 0.0], [0.5, 0.5]]
