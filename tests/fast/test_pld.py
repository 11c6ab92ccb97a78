"""The fast PLD against 60 digits, against `losses` and `reference`, and against the checker."""

from math import inf, nan

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from pld_edu import fast, losses, reference
from pld_edu.check import check_loss
from pld_edu.fast import blocks, cpu, stick_breaking
from tests.support import cases, exact
from tests.support.tolerances import BY_DTYPE, FLOAT64

DTYPES = {"float64": torch.float64, "float32": torch.float32}
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def tensors(*values, dtype=torch.float64):
    """Logits and labels as tensors; the first asks for a gradient."""
    *logits, y = values
    s, *others = (torch.as_tensor(z, dtype=dtype) for z in logits)
    return [s.clone().requires_grad_(), *others, torch.as_tensor(y)]


def value_and_gradient(s, t, y, loss=fast.pld_loss, **options):
    value = loss(s, t, y, **options)
    return value.detach(), torch.autograd.grad(value.sum(), s)[0]


@pytest.fixture(params=["NumPy, small", "NumPy, large", "PyTorch by sums", "PyTorch by scans"])
def form(request, monkeypatch):
    """Every form of stick breaking, for the rows that it can take."""
    if request.param == "NumPy, large":
        monkeypatch.setattr(cpu, "SMALL", 0)
    if request.param.startswith("PyTorch"):
        monkeypatch.setattr(cpu, "WIDEST_SPAN", -1.0)
    if request.param == "PyTorch by scans":
        monkeypatch.setattr(stick_breaking, "WIDEST_SPAN", -1.0)
    return request.param


@pytest.mark.parametrize("case", cases.CARD, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_on_which_public_implementations_fail(case, dtype, form):
    tolerance = BY_DTYPE[dtype]
    s, t, y = tensors(case.s, case.t, case.y, dtype=DTYPES[dtype])
    truth, slope = exact.pld(s.tolist(), t.tolist(), case.y, case.temperature)
    loss, gradient = value_and_gradient(s, t, y, temperature=case.temperature)
    assert loss.dtype == gradient.dtype == DTYPES[dtype]
    assert exact.loss_error(loss, truth) < tolerance.loss
    assert exact.gradient_error(gradient, slope) < tolerance.gradient
    assert loss.item() == pytest.approx(case.loss, rel=1e-5)
    for i, g in case.gradient.items():
        assert gradient[i].item() == pytest.approx(g, rel=0.02)
        assert gradient[i].item() == pytest.approx(float(slope[i]), rel=tolerance.gradient)


@pytest.mark.parametrize("case", cases.CARD, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_inputs_give_a_float32_loss(case, dtype):
    tolerance, dtype = BY_DTYPE[dtype], HALVES[dtype]
    s, t, y = tensors(case.s, case.t, case.y, dtype=dtype)
    truth, slope = exact.pld(s.tolist(), t.tolist(), case.y, case.temperature)
    loss, gradient = value_and_gradient(s, t, y, temperature=case.temperature)
    assert (loss.dtype, gradient.dtype) == (torch.float32, dtype)
    assert exact.loss_error(loss, truth) < tolerance.loss
    rounded = torch.tensor(np.array(slope, float)).to(dtype)
    subnormal = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    torch.testing.assert_close(gradient, rounded, rtol=tolerance.gradient, atol=subnormal)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", cases.CLASSES)
@pytest.mark.parametrize("student", cases.STUDENTS)
@pytest.mark.parametrize("scale", cases.SCALES)
def test_loss_and_gradient_in_60_digits(classes, scale, student, dtype):
    rows = tensors(*cases.rows(classes, scale, student, dtype), dtype=DTYPES[dtype])
    loss, gradient = value_and_gradient(*rows, temperature=2.0, reduction="none")
    assert loss.dtype == gradient.dtype == DTYPES[dtype]
    for row, (truth, slope) in enumerate(cases.truths(classes, scale, student, dtype)):
        assert exact.loss_error(loss[row], truth) < BY_DTYPE[dtype].loss
        assert exact.gradient_error(gradient[row], slope) < BY_DTYPE[dtype].gradient


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("student", cases.STUDENTS)
@pytest.mark.parametrize("scale", [1.0, 10.0, 50.0])
def test_the_two_forms_agree_with_60_digits_where_both_apply(scale, student, dtype, form):
    rows = tensors(*cases.rows(100, scale, student, dtype), dtype=DTYPES[dtype])
    loss, gradient = value_and_gradient(*rows, temperature=2.0, reduction="none")
    for row, (truth, slope) in enumerate(cases.truths(100, scale, student, dtype)):
        assert exact.loss_error(loss[row], truth) < BY_DTYPE[dtype].loss
        assert exact.gradient_error(gradient[row], slope) < BY_DTYPE[dtype].gradient


@pytest.mark.parametrize("gap", [63.0, 65.0, 599.0, 601.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_either_side_of_the_bounds_between_the_forms(gap, dtype):
    """Two scores `gap` apart, in either order, with others close to each."""
    s = [0.0, -gap, 0.5 - gap, -0.25, -gap / 2]
    for y, t in ((0, [5, 4, 3, 2, 1]), (1, [1, 2, 3, 4, 5])):
        leaf, teacher, label = tensors(s, t, y, dtype=DTYPES[dtype])
        truth, slope = exact.pld(leaf.tolist(), t, y)
        loss, gradient = value_and_gradient(leaf, teacher, label)
        assert exact.loss_error(loss, truth) < BY_DTYPE[dtype].loss
        assert exact.gradient_error(gradient, slope) < BY_DTYPE[dtype].gradient


def test_rows_far_from_each_other_do_not_cost_digits():
    """Rows of small span around 0, 1e4 and -1e4, in one block."""
    s, t, y = cases.batch((3,), classes=6)
    s += np.array([[0.0], [1e4], [-1e4]])
    loss, gradient = value_and_gradient(*tensors(s, t, y), reduction="none")
    for row, single in enumerate(cases.singles(s, t, y)):
        truth, slope = exact.pld(*single)
        assert exact.loss_error(loss[row], truth) < FLOAT64
        assert exact.gradient_error(gradient[row], slope) < FLOAT64


@pytest.mark.parametrize("name", cases.WEIGHTS)
@pytest.mark.parametrize("classes", [1, 2, 7, 100])
def test_each_choice_of_weights_in_60_digits(name, classes, form):
    s, t, y = cases.rows(classes, 10.0, "differs", count=2)
    options = {"weights": name, "temperature": 0.5, "reduction": "none"}
    loss, gradient = value_and_gradient(*tensors(s, t, y), **options)
    for row, single in enumerate(cases.singles(s, t, y)):
        truth, slope = exact.pld(*single, 0.5, name)
        assert exact.loss_error(loss[row], truth) < FLOAT64
        assert exact.gradient_error(gradient[row], slope) < FLOAT64


@pytest.mark.parametrize("classes", [1, 2, 7, 40])
def test_one_hot_weights_give_cross_entropy_of_pytorch(classes):
    s, t, y = tensors(*cases.batch((6,), classes=classes))
    ours = value_and_gradient(s, t, y, weights="one-hot", reduction="sum")
    theirs = F.cross_entropy(s, y, reduction="sum")
    torch.testing.assert_close(ours[0], theirs.detach(), rtol=FLOAT64, atol=FLOAT64)
    (gradient,) = torch.autograd.grad(theirs, s)
    torch.testing.assert_close(ours[1], gradient, rtol=FLOAT64, atol=FLOAT64)


def test_given_weights_in_rank_order():
    s, t, y = cases.batch((3,), classes=4)
    alpha = np.random.default_rng(1).uniform(size=(3, 4))
    weights = torch.tensor(alpha, requires_grad=True)
    t_leaf = torch.tensor(t, requires_grad=True)
    leaf = torch.tensor(s, requires_grad=True)
    rows = fast.pld_loss(leaf, t_leaf, torch.tensor(y), weights=weights, reduction="none")
    rows.sum().backward()
    for row, single in enumerate(cases.singles(s, t, y)):
        truth, slope = exact.pld(*single, alpha=alpha[row])
        assert exact.loss_error(rows[row].detach(), truth) < FLOAT64
        assert exact.gradient_error(leaf.grad[row], slope) < FLOAT64
    assert t_leaf.grad is None
    assert weights.grad is None


@pytest.mark.parametrize("lead", cases.LEADS)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_reductions_over_any_leading_shape(lead, reduction):
    arrays = cases.batch(lead)
    truths = [exact.pld(*row) for row in cases.singles(*arrays)]
    share = 1 / len(truths) if reduction == "mean" else 1
    rows = np.array([loss for loss, _ in truths], float)
    expected = rows.reshape(lead) if reduction == "none" else rows.sum() * share
    loss, gradient = value_and_gradient(*tensors(*arrays), reduction=reduction)
    assert loss.shape == np.shape(expected)
    np.testing.assert_allclose(loss, expected, rtol=FLOAT64)
    slopes = np.array([slope for _, slope in truths], float).reshape(arrays.s.shape) * share
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=FLOAT64)


@pytest.mark.parametrize("agree", [True, False], ids=["agree", "disagree"])
@pytest.mark.parametrize("classes", [2, 1000, 2**17])
def test_float32_alone_up_to_its_edge(classes, agree):
    """As far out as the student is not float64: nothing overflows or is lost, whatever C is."""
    edge = cpu.LARGEST_FLOAT32
    sign = torch.where(torch.arange(classes) % 2 == 0, 1.0, -1.0)
    s, t, y = tensors(edge * sign[None], (edge if agree else -edge) * sign[None], [classes - 1])
    s, t = s.detach().float().requires_grad_(), t.float()
    assert cpu._exponent(s.detach(), largest=edge).dtype is np.float32
    loss, gradient = value_and_gradient(s, t, y, temperature=2.0)
    leaf = s.detach().double().requires_grad_()
    expected = losses.pld_loss(leaf, t.double(), y, temperature=2.0)
    (slope,) = torch.autograd.grad(expected, leaf)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (gradient - slope).abs().max() < 1e-6 * slope.abs().max()


@pytest.mark.parametrize("size", [1, 7, 40])
def test_rows_in_blocks_are_the_rows_of_one_block(size, monkeypatch):
    """Block of one row, of one and a bit, of several with a rest."""
    s, t, y = tensors(*cases.batch((11,), classes=5))
    monkeypatch.setattr(blocks, "CPU_BLOCK", (size, size))
    loss, gradient = value_and_gradient(s, t, y, reduction="none")
    for row, single in enumerate(cases.singles(s.detach(), t, y)):
        truth, slope = exact.pld(*single)
        assert exact.loss_error(loss[row], truth) < FLOAT64
        assert exact.gradient_error(gradient[row], slope) < FLOAT64


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_incoming_gradient_scales_ours_and_the_graph_can_be_kept(reduction):
    s, t, y = tensors(*cases.batch((3,)))
    shape = (3,) if reduction == "none" else ()
    incoming = torch.linspace(-2.0, 3.0, 3, dtype=torch.float64)[: int(np.prod(shape))]
    incoming = incoming.reshape(shape)
    loss = fast.pld_loss(s, t, y, reduction=reduction)
    (theirs,) = torch.autograd.grad(losses.pld_loss(s, t, y, reduction=reduction), s, incoming)
    for _ in range(2):
        (ours,) = torch.autograd.grad(loss, s, incoming, retain_graph=True)
        torch.testing.assert_close(ours, theirs, rtol=FLOAT64, atol=FLOAT64)
        ours.zero_()  # what was handed out is not what is kept


def test_gradient_is_a_central_difference():
    s, t, y = tensors(*cases.batch((3,)))
    assert torch.autograd.gradcheck(lambda z: fast.pld_loss(z, t, y), s)
    assert torch.autograd.gradcheck(lambda z: fast.pld_loss(z, t, y, reduction="none"), s)


@pytest.mark.parametrize("scale", [2.0, 300.0, 3000.0])
@pytest.mark.parametrize("weights", ["teacher", "label", "one-hot", "uniform", "position"])
def test_masked_classes_take_no_part(weights, scale):
    """As in `losses`, which is tested against the loss of the classes that are left."""
    s, t, y = cases.batch((3,), classes=6, scale=scale)
    y[:] = [0, 3, 5]
    s[:, [1, 4]] = t[:, [1, 4]] = -inf
    t[2, 2] = -inf  # masked in the teacher alone: ranks last, with weight 0
    rows = tensors(s, t, y)
    options = {"weights": weights, "temperature": 1.5, "reduction": "none"}
    loss, gradient = value_and_gradient(*rows, **options)
    expected, slope = value_and_gradient(*rows, loss=losses.pld_loss, **options)
    np.testing.assert_allclose(loss, expected, rtol=FLOAT64)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=FLOAT64)
    assert (gradient[:, [1, 4]] == 0).all()
    if weights == "teacher":
        left = [0, 2, 3, 5]
        truth, _ = exact.pld(s[0, left].tolist(), t[0, left].tolist(), 0, 1.5)
        assert exact.loss_error(loss[0], truth) < FLOAT64


@pytest.mark.parametrize("ignore_index", [-100, 255, 1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_rows_count_for_nothing_whatever_they_hold(ignore_index, reduction):
    arrays = cases.batch((5,), classes=4)
    arrays.y[:] = [0, ignore_index, 2, 3, ignore_index]
    kept = [0, 2, 3]
    truths = [exact.pld(*row) for row in cases.singles(*(z[kept] for z in arrays))]
    arrays.s[1], arrays.t[1], arrays.s[4], arrays.t[4] = nan, inf, -inf, nan
    options = {"ignore_index": ignore_index, "reduction": reduction}
    loss, gradient = value_and_gradient(*tensors(*arrays), **options)
    share = 1 / 3 if reduction == "mean" else 1
    if reduction == "none":
        np.testing.assert_array_equal(loss[[1, 4]], 0)
        loss = loss.sum()
    assert exact.loss_error(loss, sum(truth for truth, _ in truths) * share) < FLOAT64
    np.testing.assert_array_equal(gradient[[1, 4]], 0)
    expected = np.array([slope for _, slope in truths], float) * share
    np.testing.assert_allclose(gradient[kept], expected, rtol=0, atol=FLOAT64)


def test_all_rows_ignored_is_what_cross_entropy_makes_of_it():
    s, t, y = tensors(*cases.batch((2,)))
    y[:] = -100
    loss, gradient = value_and_gradient(s, t, y)
    theirs = F.cross_entropy(s, y)
    (their_gradient,) = torch.autograd.grad(theirs, s)
    np.testing.assert_equal(loss.item(), theirs.item())
    np.testing.assert_array_equal(gradient, their_gradient)
    assert fast.pld_loss(s, t, y, reduction="sum").item() == 0


@pytest.mark.parametrize("weights", cases.WEIGHTS)
def test_one_class_costs_nothing(weights, form):
    s, t, y = tensors([[3.0], [-5.0]], [[1.0], [2.0]], [0, 0])
    loss, gradient = value_and_gradient(s, t, y, weights=weights)
    assert loss.item() == 0
    assert gradient.tolist() == [[0], [0]]


def test_empty_batch_has_a_sum_and_no_rows():
    s, t, y = tensors(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    loss, gradient = value_and_gradient(s, t, y, reduction="sum")
    assert loss.item() == 0
    assert gradient.shape == (0, 3)
    assert fast.pld_loss(s, t, y, reduction="none").shape == (0,)


@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 40),
    scale=st.sampled_from(cases.SCALES),
    temperature=st.floats(0.1, 10),
    weights=st.sampled_from(cases.WEIGHTS),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    ignored=st.booleans(),
)
def test_agrees_with_the_reference(seed, classes, scale, temperature, weights, reduction, ignored):
    arrays = cases.batch((2, 2), classes=classes, scale=scale, seed=seed)
    arrays.t[:] = arrays.t.round()  # ties
    if ignored:
        arrays.y[0, 0] = -100
    options = {"temperature": temperature, "weights": weights, "reduction": reduction}
    loss, gradient = value_and_gradient(*tensors(*arrays), **options)
    np.testing.assert_allclose(loss, reference.pld_loss(*arrays, **options), rtol=1e-12, atol=1e-30)
    expected = reference.pld_gradient(*arrays, **options)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes", [700, 70_000])
def test_many_classes(classes):
    """Too many to pack, and too many for 16 bits, against `losses`."""
    s, t, y = cases.batch((2,), classes=classes)
    rows = tensors(s, t.round(2), y, dtype=torch.float32)
    loss, gradient = value_and_gradient(*rows, temperature=2.0)
    expected, slope = value_and_gradient(*rows, temperature=2.0, loss=losses.pld_loss)
    torch.testing.assert_close(loss, expected, rtol=BY_DTYPE["float32"].loss, atol=0)
    tolerance = BY_DTYPE["float32"].gradient * slope.abs().max().item()
    torch.testing.assert_close(gradient, slope, rtol=0, atol=tolerance)


def test_weights_survive_a_tiny_temperature():
    t = torch.tensor([[1e10, 2.0], [3.0, 3.0]])
    s, y = torch.zeros(2, 2), torch.tensor([0, 0])
    rows = fast.pld_loss(s, t, y, temperature=1e-300, reduction="none")
    np.testing.assert_allclose(rows, np.array([1.0, 0.5]) * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_module_is_the_function_with_its_options(temperature):
    case = cases.CARD[6]
    assert case.name == "A"
    s, t, y = tensors([case.s] * 3, [case.t] * 3, [case.y, case.y, 2])
    module = fast.PLDLoss(temperature=temperature, ignore_index=2, reduction="sum")
    truth = 2 * exact.pld(case.s, case.t, case.y, temperature)[0]
    assert exact.loss_error(module(s, t, y).detach(), truth) < FLOAT64
    assert repr(module) == f"PLDLoss(temperature={temperature}, weights='teacher')"


def test_the_checker_finds_nothing_wrong():
    report = check_loss(fast.pld_loss, timeout=60.0)
    assert report.passed, report
