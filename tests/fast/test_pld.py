"""The Function of `fast`: its digits, its blocks, its backward pass, and what it hands to `losses`.

That its numbers are those of `losses` is tested in tests/losses/test_pld.py, for both.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pld_edu import fast, losses, reference
from pld_edu.check import check_loss
from pld_edu.fast import pld
from tests.support import cases, exact
from tests.support.tolerances import BY_DTYPE, FLOAT64

DTYPES = {"float64": torch.float64, "float32": torch.float32}


def tensors(*values, dtype=torch.float64):
    """Logits and labels as tensors; the first asks for a gradient."""
    *logits, y = values
    s, *others = (torch.as_tensor(z, dtype=dtype) for z in logits)
    return [s.clone().requires_grad_(), *others, torch.as_tensor(y)]


def value_and_gradient(s, t, y, loss=fast.pld_loss, **options):
    value = loss(s, t, y, **options)
    return value.detach(), torch.autograd.grad(value.sum(), s)[0]


@pytest.fixture
def handed_over(monkeypatch):
    """Names of the calls that reach `losses.pld_loss`, as a list that grows."""
    calls = []

    def pld_loss(*inputs, **options):
        calls.append("pld_loss")
        return ours(*inputs, **options)

    ours = losses.pld_loss
    monkeypatch.setattr(losses, "pld_loss", pld_loss)
    return calls


@pytest.mark.parametrize("student", cases.STUDENTS)
@pytest.mark.parametrize("classes", cases.CLASSES)
@pytest.mark.parametrize("scale", cases.SCALES)
def test_float32_keeps_nearly_all_its_digits(scale, classes, student):
    """Loss and gradient, at student scales of 1 to 10,000."""
    rows = tensors(*cases.rows(classes, scale, student, "float32"), dtype=torch.float32)
    loss, gradient = value_and_gradient(*rows, temperature=2.0, reduction="none")
    for row, (truth, slope) in enumerate(cases.truths(classes, scale, student, "float32")):
        assert exact.loss_error(loss[row], truth) < 2.5e-7
        assert exact.gradient_error(gradient[row], slope) < 2.5e-7


@pytest.mark.parametrize("gap", [31.5, 32.5, 63.0, 65.0, 599.0, 601.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_either_side_of_the_bounds(gap, dtype, handed_over):
    """Two scores `gap` apart, in either order, with others close to each."""
    s = [0.0, -gap, 0.5 - gap, -0.25, -gap / 2]
    for y, t in ((0, [5, 4, 3, 2, 1]), (1, [1, 2, 3, 4, 5])):
        leaf, teacher, label = tensors(s, t, y, dtype=DTYPES[dtype])
        truth, slope = exact.pld(leaf.tolist(), t, y)
        loss, gradient = value_and_gradient(leaf, teacher, label)
        assert exact.loss_error(loss, truth) < BY_DTYPE[dtype].loss
        assert exact.gradient_error(gradient, slope) < BY_DTYPE[dtype].gradient
    assert len(handed_over) == (2 if gap > 600 else 0)


@pytest.mark.parametrize("far", [250.0, 1e4])
def test_rows_far_from_each_other_do_not_cost_digits(far):
    """Rows of small span around 0, `far` and `-far`, in one block."""
    s, t, y = cases.batch((3,), classes=6)
    s += np.array([[0.0], [far], [-far]])
    loss, gradient = value_and_gradient(*tensors(s, t, y), reduction="none")
    for row, single in enumerate(cases.singles(s, t, y)):
        truth, slope = exact.pld(*single)
        assert exact.loss_error(loss[row], truth) < FLOAT64
        assert exact.gradient_error(gradient[row], slope) < FLOAT64


@pytest.mark.parametrize("agree", [True, False], ids=["agree", "disagree"])
@pytest.mark.parametrize("classes", [2, 1000, 2**17])
def test_float32_alone_up_to_its_edge(classes, agree, handed_over):
    """As far out as the student is not float64: nothing overflows or is lost, whatever C is."""
    edge = pld.LARGEST_FLOAT32
    sign = torch.where(torch.arange(classes) % 2 == 0, 1.0, -1.0)
    s, t, y = tensors(edge * sign[None], (edge if agree else -edge) * sign[None], [classes - 1])
    s, t = s.detach().float().requires_grad_(), t.float()
    loss, gradient = value_and_gradient(s, t, y, temperature=2.0)
    assert not handed_over
    leaf = s.detach().double().requires_grad_()
    expected = losses.pld_loss(leaf, t.double(), y, temperature=2.0)
    (slope,) = torch.autograd.grad(expected, leaf)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (gradient - slope).abs().max() < 1e-6 * slope.abs().max()


@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 40),
    scale=st.sampled_from(cases.SCALES),
    temperature=st.floats(0.1, 10),
    reduction=st.sampled_from(["mean", "sum", "none"]),
)
def test_agrees_with_the_reference(seed, classes, scale, temperature, reduction):
    arrays = cases.batch((2, 2), classes=classes, scale=scale, seed=seed)
    arrays.t[:] = arrays.t.round()  # ties
    options = {"temperature": temperature, "reduction": reduction}
    loss, gradient = value_and_gradient(*tensors(*arrays), **options)
    np.testing.assert_allclose(loss, reference.pld_loss(*arrays, **options), rtol=1e-12, atol=1e-30)
    expected = reference.pld_gradient(*arrays, **options)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 7, 40])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_rows_in_blocks_are_the_rows_of_one_block(size, reduction, monkeypatch):
    """Block of one row, of one and a bit, of several with a rest."""
    s, t, y = tensors(*cases.batch((11,), classes=5))
    monkeypatch.setattr(pld, "BLOCK", size)
    loss, gradient = value_and_gradient(s, t, y, reduction=reduction)
    truths = [exact.pld(*single) for single in cases.singles(s.detach(), t, y)]
    share = 11 if reduction == "mean" else 1
    if reduction == "mean":
        assert exact.loss_error(11 * loss, sum(truth for truth, _ in truths)) < FLOAT64
    for row, (truth, slope) in enumerate(truths):
        assert reduction == "mean" or exact.loss_error(loss[row], truth) < FLOAT64
        assert exact.gradient_error(share * gradient[row], slope) < FLOAT64


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


@pytest.mark.filterwarnings("error")
def test_weights_survive_a_tiny_temperature():
    t = torch.tensor([[1e10, 2.0], [3.0, 3.0]])
    s, y = torch.zeros(2, 2), torch.tensor([0, 0])
    rows = fast.pld_loss(s, t, y, temperature=1e-300, reduction="none")
    np.testing.assert_allclose(rows, np.array([1.0, 0.5]) * np.log(2), rtol=1e-6)


def test_a_teacher_who_is_all_but_sure_that_the_label_is_wrong():
    s, t, y = [0.5, -1.0, 2.0], [0.0, 900.0, 899.0], 0
    truth, slope = exact.pld(s, t, y)
    loss, gradient = value_and_gradient(*tensors(s, t, y))
    assert exact.loss_error(loss, truth) < FLOAT64
    assert exact.gradient_error(gradient, slope) < FLOAT64


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


def test_small_gradients_of_half_precision_students_survive_a_loss_scale():
    """Scaled before they are rounded, as GradScaler wants it: 1e-8 is 0 in float16."""
    s = torch.tensor([[0.0, -18.0]], dtype=torch.float16, requires_grad=True)
    t, y = torch.tensor([[9.0, 0.0]]), torch.tensor([0])
    (2.0**16 * fast.pld_loss(s, t, y)).backward()
    _, slope = exact.pld([0.0, -18.0], [9.0, 0.0], 0)
    assert s.grad[0, 1].item() == pytest.approx(float(2**16 * slope[1]), rel=2.0**-11)


def test_gradient_is_a_central_difference():
    s, t, y = tensors(*cases.batch((3,)))
    assert torch.autograd.gradcheck(lambda z: fast.pld_loss(z, t, y), s)
    assert torch.autograd.gradcheck(lambda z: fast.pld_loss(z, t, y, reduction="none"), s)


def test_a_second_derivative_says_what_to_use_instead():
    s, t, y = tensors(*cases.batch((3,)))
    with pytest.raises(RuntimeError, match=r"no second derivative.*use pld_edu\.losses"):
        torch.autograd.functional.hessian(lambda z: fast.pld_loss(z, t, y), s)


def test_a_graph_for_the_second_derivative_may_be_made():
    """As `create_graph=True` does for other terms of a loss."""
    s, t, y = tensors(*cases.batch((3,)))
    (slope,) = torch.autograd.grad(fast.pld_loss(s, t, y), s, create_graph=True)
    (expected,) = torch.autograd.grad(losses.pld_loss(s, t, y), s)
    torch.testing.assert_close(slope.detach(), expected, rtol=FLOAT64, atol=1e-15)
    with pytest.raises(RuntimeError, match="no second derivative"):
        slope.sum().backward()


def test_one_array_is_kept_for_the_way_back():
    s, t, y = tensors(*cases.batch((4,)), dtype=torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda z: kept.append(z) or z, lambda z: z):
        fast.pld_loss(s, t, y)
    assert [z.shape for z in kept] == [s.shape]


def test_the_checker_finds_nothing_wrong():
    report = check_loss(fast.pld_loss, timeout=60.0)
    assert report.passed, report
