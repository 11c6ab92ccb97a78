"""The fast losses under compile, vmap, grad, autocast, meta and fake tensors, and any layout.

There `losses` computes, whose own tests are in tests/losses/test_transforms.py; here it must be
found out that it has to.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pld_edu import fast, losses
from pld_edu.fast import pld
from tests.support import cases, exact
from tests.support.tolerances import BY_DTYPE, FLOAT64


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


@pytest.fixture
def no_function(monkeypatch):
    """The Function of the usual batch must not be reached."""

    def reached(*_):
        raise AssertionError("not handed over")

    monkeypatch.setattr(pld.WithGradient, "apply", reached)


@each_loss
def test_the_usual_batch_is_not_handed_over(name, no_function):
    with pytest.raises(AssertionError, match="not handed over"):
        LOSSES[name](*batch())


@pytest.mark.slow
@each_loss
def test_compiles_without_a_break(name, no_function):
    s, t, y = batch()
    compiled = torch.compile(LOSSES[name], fullgraph=True, backend="aot_eager")
    leaf = s.clone().requires_grad_()
    loss = compiled(leaf, t, y)
    assert exact.loss_error(loss.detach(), mean(s, t, y)) < TOLERANCE[name]
    loss.backward()
    for ours, (_, slope) in zip(leaf.grad, truths(s, t, y), strict=True):
        assert exact.gradient_error(3 * ours, slope) < TOLERANCE[name]


def test_vmap_gives_each_row_its_loss(no_function):
    s, t, y = batch()
    rows = torch.vmap(fast.pld_loss)(s, t, y)
    for ours, (value, _) in zip(rows, truths(s, t, y), strict=True):
        assert exact.loss_error(ours, value) < FLOAT64


@each_loss
def test_vmap_over_the_student_alone(name, no_function):
    s, t, y = batch()
    students = torch.stack([s, 2 * s], dim=1)
    values = torch.vmap(LOSSES[name], in_dims=(1, None, None))(students, t, y)
    for ours, scale in zip(values, (1, 2), strict=True):
        assert exact.loss_error(ours, mean(scale * s, t, y)) < TOLERANCE[name]


@each_loss
def test_derivatives_of_torch_func(name, no_function):
    """The second one too, which the Function has not."""
    s, t, y = batch()
    for ours, (_, slope) in zip(
        torch.func.grad(LOSSES[name])(s, t, y), truths(s, t, y), strict=True
    ):
        assert exact.gradient_error(3 * ours, slope) < TOLERANCE[name]
    theirs = torch.func.hessian(losses.pld_loss)(s, t, y)
    ours = torch.func.hessian(LOSSES[name])(s, t, y)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE[name])


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_meta_and_fake_tensors_have_a_shape_and_a_dtype(name, dtype, no_function):
    at_least = torch.promote_types(dtype, torch.float32)
    s, t, y = (z.to("meta") for z in batch(dtype=dtype))
    loss = fast.pld_loss_from_targets(s, TARGETS.to("meta"))
    if name == "pld_loss":
        loss = fast.pld_loss(s, t, y)
    assert (loss.device.type, loss.shape, loss.dtype) == ("meta", (), at_least)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        s, t, y = (mode.from_tensor(z) for z in batch(dtype=dtype))
        s.requires_grad_()
        loss = LOSSES[name](s, t, y)
        loss.backward()
    assert (loss.shape, loss.dtype) == ((), at_least)
    assert (s.grad.shape, s.grad.dtype) == ((3, 4), dtype)


def test_a_subclass_keeps_its_type(no_function):
    class Named(torch.Tensor):
        pass

    s, t, y = batch()
    assert type(fast.pld_loss(s.as_subclass(Named), t, y)) is Named
    assert type(from_targets(s.as_subclass(Named), t, y)) is Named


@each_loss
def test_far_logits_from_targets_and_live(name, no_function):
    s, t, y = batch()
    loss = LOSSES[name](1000 * s, t, y)
    assert exact.loss_error(loss, mean(1000 * s, t, y)) < TOLERANCE[name]


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
    copies = [z.clone() for z in (*inputs, TARGETS.ranking, TARGETS.weights)]
    LOSSES[name](*inputs)
    for z, copy in zip((*inputs, TARGETS.ranking, TARGETS.weights), copies, strict=True):
        assert torch.equal(z, copy)


def test_without_a_gradient_asked_for_none_is_kept():
    s, t, y = batch()
    assert not fast.pld_loss(s, t, y).requires_grad
    with torch.no_grad():
        assert not fast.pld_loss(s.requires_grad_(), t, y).requires_grad
