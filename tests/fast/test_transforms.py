"""The fast loss under compile, vmap, grad, autocast, meta and fake tensors, and any layout."""

import shutil

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pld_edu import fast, losses
from tests.support import cases, exact
from tests.support.tolerances import BY_DTYPE, FLOAT64

COMPILER = any(map(shutil.which, ("g++", "clang++", "c++", "cl")))
NO_SECOND = "no second or forward-mode derivative.*use pld_edu.losses"


def from_targets(s, t, y, *, reduction="mean"):
    """The loss from targets that are computed outside of whatever transforms the student."""
    return fast.pld_loss_from_targets(s, TARGETS[:], reduction=reduction)


def batch(lead=(3,), dtype=torch.float64, classes=4):
    s, t, y = cases.batch(lead, classes=classes)
    return [torch.tensor(s).to(dtype), torch.tensor(t).to(dtype), torch.tensor(y)]


TARGETS = fast.TeacherTargets.compute(*batch()[1:])
LOSSES = {"pld_loss": fast.pld_loss, "from targets": from_targets}
# Targets hold float32 weights.
TOLERANCE = {"pld_loss": FLOAT64, "from targets": BY_DTYPE["float32"].loss}
each_loss = pytest.mark.parametrize("name", LOSSES)


def truths(s, t, y):
    return [exact.pld(*row) for row in cases.singles(s.double(), t.double(), y)]


def mean(s, t, y):
    values = [value for value, _ in truths(s, t, y)]
    return sum(values) / len(values)


@each_loss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_compiles_without_a_break(name, reduction):
    s, t, y = batch()
    compiled = torch.compile(LOSSES[name], fullgraph=True, backend="aot_eager")
    leaf, eager_leaf = (s.clone().requires_grad_() for _ in range(2))
    rows = compiled(leaf, t, y, reduction=reduction)
    eager = LOSSES[name](eager_leaf, t, y, reduction=reduction)
    torch.testing.assert_close(rows, eager, rtol=FLOAT64, atol=0)
    if reduction == "mean":
        assert exact.loss_error(rows.detach(), mean(s, t, y)) < TOLERANCE[name]
    rows.sum().backward()
    eager.sum().backward()
    torch.testing.assert_close(leaf.grad, eager_leaf.grad, rtol=FLOAT64, atol=1e-15)


@pytest.mark.skipif(not COMPILER, reason="inductor needs a C++ compiler")
def test_a_training_step_compiles_with_inductor():
    """Logits of a layer, ignored rows, the module, float32."""
    s, t, y = batch(dtype=torch.float32)
    y[1] = -100
    layer = torch.nn.Linear(4, 4)
    module = fast.PLDLoss(temperature=2.0)
    compiled = torch.compile(lambda x: module(layer(x), t, y), fullgraph=True)
    compiled(s).backward()
    got, layer.weight.grad = layer.weight.grad, None
    losses.pld_loss(layer(s), t, y, temperature=2.0).backward()
    torch.testing.assert_close(got, layer.weight.grad, rtol=1e-5, atol=1e-7)


def test_compiled_with_weights_given():
    s, t, y = batch()
    alpha = torch.rand(3, 4, dtype=torch.float64)
    compiled = torch.compile(fast.pld_loss, fullgraph=True, backend="aot_eager")
    expected = losses.pld_loss(s, t, y, weights=alpha)
    torch.testing.assert_close(compiled(s, t, y, weights=alpha), expected, rtol=FLOAT64, atol=0)


@pytest.mark.parametrize("given", [None, torch.ones(3, 4, dtype=torch.float64)])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_operators_keep_the_rules_of_operators(given):
    s, t, y = batch()
    s.requires_grad_()
    inputs = (s, t, y, 2.0, "teacher", given, -100)
    torch.library.opcheck(torch.ops.pld_edu.rows_from_teacher, inputs)
    inputs = (s, TARGETS.ranking, TARGETS.weights)
    torch.library.opcheck(torch.ops.pld_edu.rows_from_targets, inputs)


def test_vmap_gives_each_row_its_loss():
    s, t, y = batch()
    rows = torch.vmap(fast.pld_loss)(s, t, y)
    for ours, (value, _) in zip(rows, truths(s, t, y), strict=True):
        assert exact.loss_error(ours, value) < FLOAT64


@each_loss
def test_vmap_over_the_student_alone(name):
    s, t, y = batch()
    students = torch.stack([s, 2 * s], dim=1)
    values = torch.vmap(LOSSES[name], in_dims=(1, None, None))(students, t, y)
    for ours, scale in zip(values, (1, 2), strict=True):
        assert exact.loss_error(ours, mean(scale * s, t, y)) < TOLERANCE[name]


@each_loss
def test_gradients_of_torch_func_are_those_of_autograd(name):
    s, t, y = batch()
    leaf = s.clone().requires_grad_()
    LOSSES[name](leaf, t, y).backward()
    tight = {"rtol": FLOAT64, "atol": 1e-15}
    torch.testing.assert_close(torch.func.grad(LOSSES[name])(s, t, y), leaf.grad, **tight)
    torch.testing.assert_close(torch.func.jacrev(LOSSES[name])(s, t, y), leaf.grad, **tight)
    students = torch.stack([s, s])
    slopes = torch.vmap(torch.func.grad(LOSSES[name]), (0, None, None))(students, t, y)
    torch.testing.assert_close(slopes, torch.stack([leaf.grad] * 2), **tight)


def test_vmap_of_grad_with_masked_and_ignored_rows():
    s, t, y = batch((2, 3))
    s[0, 0, 1] = t[0, 0, 1] = -torch.inf
    y[0, 0], y[1, 2] = 0, -100
    ours = torch.vmap(torch.func.grad(fast.pld_loss))(s, t, y)
    theirs = torch.vmap(torch.func.grad(losses.pld_loss))(s, t, y)
    torch.testing.assert_close(ours, theirs, rtol=FLOAT64, atol=1e-15)


SECOND_DERIVATIVES = {
    "autograd": lambda f, s: torch.autograd.functional.hessian(f, s),
    "torch.func": lambda f, s: torch.func.jacrev(torch.func.jacrev(f))(s),
    "forward mode": lambda f, s: torch.func.jvp(f, (s,), (s,)),
    "hessian": lambda f, s: torch.func.hessian(f)(s),
}


@each_loss
@pytest.mark.parametrize("way", SECOND_DERIVATIVES)
def test_a_second_derivative_says_what_to_use_instead(name, way):
    s, t, y = batch()
    with pytest.raises(RuntimeError, match=NO_SECOND):
        SECOND_DERIVATIVES[way](lambda z: LOSSES[name](z, t, y), s)


def test_a_graph_for_the_second_derivative_may_be_made():
    """As `create_graph=True` does for other terms of a loss."""
    s, t, y = batch()
    s.requires_grad_()
    (slope,) = torch.autograd.grad(fast.pld_loss(s, t, y), s, create_graph=True)
    (expected,) = torch.autograd.grad(losses.pld_loss(s, t, y), s)
    torch.testing.assert_close(slope.detach(), expected, rtol=FLOAT64, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_meta_and_fake_tensors_have_a_shape_and_a_dtype(dtype):
    s, t, y = (z.to("meta") for z in batch(dtype=dtype))
    at_least = torch.promote_types(dtype, torch.float32)
    loss = fast.pld_loss(s, t, y)
    assert (loss.device.type, loss.shape, loss.dtype) == ("meta", (), at_least)
    assert fast.pld_loss(s, t, y, reduction="none").shape == (3,)
    assert fast.pld_loss_from_targets(s, TARGETS.to("meta")).shape == ()
    real = batch((2, 3), dtype=dtype)
    with FakeTensorMode() as mode:
        s, t, y = (mode.from_tensor(z) for z in real)
        s.requires_grad_()
        loss = fast.pld_loss(s, t, y)
        loss.backward()
    assert (loss.shape, loss.dtype) == ((), at_least)
    assert (s.grad.shape, s.grad.dtype) == ((2, 3, 4), dtype)


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_computes_in_at_least_float32(name, dtype):
    s, t, y = batch(dtype=torch.float32)
    layer = torch.nn.Linear(4, 4)
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(s)
        loss = LOSSES[name](logits, t, y)
    assert (logits.dtype, loss.dtype) == (dtype, torch.float32)
    expected = mean(logits.detach(), t, y)
    assert exact.loss_error(loss.detach(), expected) < BY_DTYPE["float32"].loss
    loss.backward()
    assert layer.weight.grad.isfinite().all()


def test_small_gradients_of_half_precision_students_survive_a_loss_scale():
    """Scaled before they are rounded, as GradScaler wants it: 1e-8 is 0 in float16."""
    s = torch.tensor([[0.0, -18.0]], dtype=torch.float16, requires_grad=True)
    t, y = torch.tensor([[9.0, 0.0]]), torch.tensor([0])
    (2.0**16 * fast.pld_loss(s, t, y)).backward()
    _, slope = exact.pld([0.0, -18.0], [9.0, 0.0], 0)
    assert s.grad[0, 1].item() == pytest.approx(float(2**16 * slope[1]), rel=2.0**-11)


@each_loss
def test_memory_layout_does_not_matter(name):
    s, t, y = batch()
    expected = mean(s, t, y)
    strided = torch.stack([s, s + 1], dim=-1)[..., 0]
    transposed = t.T.contiguous().T
    labels = torch.stack([y, y], dim=-1)[..., 0]
    assert not any(z.is_contiguous() for z in (strided, transposed, labels))
    loss = LOSSES[name](strided, transposed, labels)
    assert exact.loss_error(loss, expected) < TOLERANCE[name]


def test_expanded_rows_share_their_gradient():
    s, t, y = batch((1,))
    leaf = s.clone().requires_grad_()
    fast.pld_loss(*(z.expand(4, *z.shape[1:]) for z in (leaf, t, y))).backward()
    assert exact.gradient_error(leaf.grad[0], truths(s, t, y)[0][1]) < FLOAT64


@each_loss
def test_inputs_are_not_changed(name):
    inputs = batch()
    copies = [z.clone() for z in inputs]
    LOSSES[name](*inputs)
    for z, copy in zip(inputs, copies, strict=True):
        assert torch.equal(z, copy)


def test_the_teacher_gets_no_gradient_and_no_grad_keeps_none():
    s, t, y = batch()
    t.requires_grad_()
    assert not fast.pld_loss(s, t, y).requires_grad
    s.requires_grad_()
    fast.pld_loss(s, t, y).backward()
    assert t.grad is None
    with torch.no_grad():
        assert not fast.pld_loss(s, t, y).requires_grad
