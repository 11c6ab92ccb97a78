"""Every loss under vmap, grad, compile, autocast, meta and fake tensors, and any memory layout."""

import shutil
from functools import partial
from math import inf

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pld_edu import losses
from tests.support import cases, exact
from tests.support.tolerances import BY_DTYPE, FLOAT64

# Called (student_logits, teacher_logits, labels), so that one test serves all.
LOSSES = {
    "pld_loss": losses.pld_loss,
    "pld_loss-position": partial(losses.pld_loss, weights="position", temperature=2.0),
    "cross_entropy": lambda s, t, y, **options: losses.cross_entropy(s, y, **options),
    "list_mle": losses.list_mle,
    "position_list_mle": losses.position_list_mle,
    "kd_loss": lambda s, t, y, **options: losses.kd_loss(s, t, **options),
    "dist_loss": lambda s, t, y, **options: losses.dist_loss(s, t, **options),
    "dkd_loss": losses.dkd_loss,
}
MODULES = [losses.PLDLoss(), losses.KDLoss(), losses.DISTLoss(), losses.DKDLoss()]
ROW_LOSSES = [name for name in LOSSES if name != "dist_loss"]
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
COMPILER = any(map(shutil.which, ("g++", "clang++", "c++", "cl")))
each_loss = pytest.mark.parametrize("name", LOSSES)
each_row_loss = pytest.mark.parametrize("name", ROW_LOSSES)


def batch(lead=(3,), dtype=torch.float64, classes=4, seed=0):
    s, t, y = cases.batch(lead, classes=classes, seed=seed)
    return [torch.tensor(s).to(dtype), torch.tensor(t).to(dtype), torch.tensor(y)]


def truth(name, s, t, y):
    """Exact losses, one per row; for DIST one per batch."""
    if name == "dist_loss":
        return [exact.dist(s.tolist(), t.tolist(), 1.0)]
    row = {
        "pld_loss": lambda a, b, label: exact.pld(a, b, label)[0],
        "pld_loss-position": lambda a, b, label: exact.pld(a, b, label, alpha="position")[0],
        "position_list_mle": lambda a, b, label: exact.pld(a, b, label, alpha="position")[0],
        "cross_entropy": lambda a, b, label: exact.cross_entropy(a, label)[0],
        "list_mle": lambda a, b, label: exact.pld(a, b, label, alpha="uniform")[0] * len(a),
        "kd_loss": lambda a, b, label: exact.kd(a, b, 4.0),
        "dkd_loss": lambda a, b, label: exact.dkd(a, b, label, 4.0),
    }[name]
    return [row(*single) for single in cases.singles(s.double(), t.double(), y)]


def mean(values):
    return sum(values) / len(values)


@each_row_loss
def test_vmap_gives_each_row_its_loss(name):
    s, t, y = batch()
    rows = torch.vmap(LOSSES[name])(s, t, y)
    for ours, value in zip(rows, truth(name, s, t, y), strict=True):
        assert exact.loss_error(ours, value) < FLOAT64


def test_vmap_of_dist_is_over_batches():
    s, t, y = batch((2, 3))
    values = torch.vmap(LOSSES["dist_loss"])(s, t, y)
    for i in range(2):
        assert exact.loss_error(values[i], exact.dist(s[i].tolist(), t[i].tolist(), 1.0)) < FLOAT64


@each_loss
def test_vmap_of_grad_is_autograd(name):
    s, t, y = batch((2, 3))
    slopes = torch.vmap(torch.func.grad(LOSSES[name]))(s, t, y)
    jacobian = torch.func.jacrev(torch.vmap(LOSSES[name]))(s, t, y)
    for i in range(2):
        leaf = s[i].clone().requires_grad_()
        LOSSES[name](leaf, t[i], y[i]).backward()
        torch.testing.assert_close(slopes[i], leaf.grad, rtol=FLOAT64, atol=1e-15)
        torch.testing.assert_close(jacobian[i, i], leaf.grad, rtol=FLOAT64, atol=1e-15)
        assert (jacobian[i, 1 - i] == 0).all()


@each_row_loss
def test_vmap_over_the_student_alone(name):
    """Many students, one teacher, as in the pictures of loss surfaces."""
    s, t, y = batch()
    students = torch.stack([s, 2 * s])
    values = torch.vmap(LOSSES[name], in_dims=(0, None, None))(students, t, y)
    assert exact.loss_error(values[1], mean(truth(name, 2 * s, t, y))) < FLOAT64


@each_loss
def test_first_and_second_derivatives_are_differences(name):
    s, t, y = batch()
    s.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, t, y), s)
    assert torch.autograd.gradgradcheck(lambda z: LOSSES[name](z, t, y), s)


@each_loss
def test_forward_mode_hessian_is_the_reverse_mode_one(name):
    s, t, y = batch()
    hessian = torch.func.hessian(LOSSES[name])(s, t, y)
    twice = torch.func.jacrev(torch.func.jacrev(LOSSES[name]))(s, t, y)
    torch.testing.assert_close(hessian, twice, rtol=1e-10, atol=1e-14)
    assert hessian.abs().max() > 1e-3


@pytest.mark.slow
@each_loss
def test_compiles_without_a_break(name):
    s, t, y = batch()
    compiled = torch.compile(LOSSES[name], fullgraph=True, backend="aot_eager")
    leaf, compiled_leaf = (s.clone().requires_grad_() for _ in range(2))
    loss = compiled(compiled_leaf, t, y)
    assert exact.loss_error(loss, mean(truth(name, s, t, y))) < FLOAT64
    loss.backward()
    LOSSES[name](leaf, t, y).backward()
    torch.testing.assert_close(compiled_leaf.grad, leaf.grad, rtol=FLOAT64, atol=1e-15)


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="inductor needs a C++ compiler")
def test_compiles_with_inductor_for_masked_and_ignored_rows():
    s, t, y = batch()
    s[0, 1] = t[0, 1] = -inf
    y[:] = torch.tensor([0, -100, 2])
    s[1] = torch.nan
    compiled = torch.compile(losses.pld_loss, fullgraph=True)
    s.requires_grad_()
    loss = compiled(s, t, y)
    loss.backward()
    rows = [exact.pld(*row) for row in cases.singles(s.detach()[::2], t[::2], y[::2])]
    assert exact.loss_error(loss, mean([value for value, _ in rows])) < FLOAT64
    for row, (_, slope) in zip((0, 2), rows, strict=True):
        assert exact.gradient_error(2 * s.grad[row], slope) < FLOAT64
    assert (s.grad[1] == 0).all()


@pytest.mark.slow
def test_likelihood_and_ranking_compile():
    s, t, y = batch()
    order = torch.tensor([2, 0, 3])
    compiled = torch.compile(losses.log_likelihood, fullgraph=True, backend="aot_eager")
    for row, value in enumerate(compiled(s, order)):
        assert exact.loss_error(value, exact.log_likelihood(s[row].tolist(), order)[0]) < FLOAT64
    ranking = torch.compile(losses.teacher_ranking, fullgraph=True, backend="aot_eager")(t, y)
    assert ranking.tolist() == [exact.ranking(b, label) for _, b, label in cases.singles(s, t, y)]


@pytest.mark.slow
def test_the_gradient_in_closed_form_compiles_and_maps():
    s, t, y = batch()
    slopes = [exact.pld(*row)[1] for row in cases.singles(s, t, y)]
    mapped = torch.vmap(losses.pld_gradient)(s, t, y)
    compiled = torch.compile(losses.pld_gradient, fullgraph=True, backend="aot_eager")(s, t, y)
    for row, slope in enumerate(slopes):
        assert exact.gradient_error(mapped[row], slope) < FLOAT64
        assert exact.gradient_error(3 * compiled[row], slope) < FLOAT64
    assert losses.pld_gradient(*(z.to("meta") for z in (s, t, y))).shape == (3, 4)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
def test_modules_compile(module):
    s, t, y = batch()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(s, t, y), module(s, t, y), rtol=FLOAT64, atol=0)


@each_loss
def test_meta_tensors_have_a_shape_and_a_dtype(name):
    s, t, y = (z.to("meta") for z in batch(dtype=torch.bfloat16))
    loss = LOSSES[name](s, t, y)
    assert loss.device.type == "meta"
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    if name != "dist_loss":
        assert LOSSES[name](s, t, y, reduction="none").shape == (3,)


@each_loss
def test_fake_tensors_have_a_shape_and_a_gradient(name):
    real = batch((2, 3))
    with FakeTensorMode() as mode:
        s, t, y = (mode.from_tensor(z) for z in real)
        s.requires_grad_()
        loss = LOSSES[name](s, t, y)
        loss.backward()
    assert loss.shape == ()
    assert s.grad.shape == (2, 3, 4)


def test_likelihood_of_meta_and_fake_tensors():
    order = torch.tensor([[0, 1], [3, 2], [1, 0]])
    value = losses.log_likelihood(torch.empty(3, 4, device="meta"), order.to("meta"))
    assert value.shape == (3,)
    with FakeTensorMode() as mode:
        fake = losses.log_likelihood(mode.from_tensor(torch.zeros(3, 4)), mode.from_tensor(order))
    assert fake.shape == (3,)


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_computes_in_at_least_float32(name, dtype):
    s, t, y = batch()
    layer = torch.nn.Linear(4, 4)
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(s.float())
        loss = LOSSES[name](logits, t.float(), y)
    assert logits.dtype == dtype
    assert loss.dtype == torch.float32
    expected = mean(truth(name, logits.detach(), t.float(), y))
    assert exact.loss_error(loss, expected) < BY_DTYPE["float32"].loss
    loss.backward()
    assert layer.weight.grad.isfinite().all()


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_loss_is_float32_at_least_and_the_gradient_has_the_students_dtype(name, dtype):
    s, t, y = batch(dtype=dtype)
    s.requires_grad_()
    loss = LOSSES[name](s, t, y)
    loss.backward()
    assert loss.dtype == torch.float32
    assert s.grad.dtype == dtype
    assert exact.loss_error(loss, mean(truth(name, s.detach(), t, y))) < BY_DTYPE["float32"].loss
    assert LOSSES[name](s.double(), t, y).dtype == torch.float64


@each_loss
def test_memory_layout_does_not_matter(name):
    s, t, y = batch((3,), classes=5)
    expected = mean(truth(name, s, t, y))
    strided = torch.stack([s, s + 1], dim=-1)[..., 0]
    transposed = t.T.contiguous().T
    labels = torch.stack([y, y], dim=-1)[..., 0]
    assert not any(z.is_contiguous() for z in (strided, transposed, labels))
    assert exact.loss_error(LOSSES[name](strided, transposed, labels), expected) < FLOAT64


@each_loss
def test_expanded_rows_share_their_gradient(name):
    s, t, y = batch((1,), classes=5)
    leaf = s.clone().requires_grad_()
    rows = [z.expand(4, *z.shape[1:]) for z in (leaf, t, y)]
    loss = LOSSES[name](*rows)
    copies = [z.detach().clone() for z in rows]
    assert exact.loss_error(loss, mean(truth(name, *copies))) < FLOAT64
    loss.backward()
    copies[0].requires_grad_()
    LOSSES[name](*copies).backward()
    torch.testing.assert_close(
        leaf.grad, copies[0].grad.sum(0, keepdim=True), rtol=1e-9, atol=1e-15
    )


@each_loss
def test_inputs_are_not_changed(name):
    s, t, y = batch()
    copies = [z.clone() for z in (s, t, y)]
    LOSSES[name](s, t, y)
    for z, copy in zip((s, t, y), copies, strict=True):
        assert torch.equal(z, copy)


@pytest.mark.parametrize("name", [name for name in ROW_LOSSES if name != "kd_loss"])
@pytest.mark.parametrize("label", [-1, 4, 99])
def test_label_out_of_range_under_vmap_raises(name, label):
    s, t, _ = batch((2,))
    with pytest.raises((RuntimeError, IndexError)):
        torch.vmap(LOSSES[name])(s, t, torch.tensor([0, label]))


@each_row_loss
def test_nan_under_vmap_stays_nan(name):
    s, t, y = batch((2,))
    s[1, 2] = torch.nan
    rows = torch.vmap(LOSSES[name])(s, t, y)
    assert rows[0].isfinite()
    assert rows[1].isnan()


@each_dtype
@pytest.mark.parametrize("name", ["pld_loss", "kd_loss", "dkd_loss"])
def test_class_masked_in_the_student_alone_is_no_number_under_vmap(name, dtype):
    """Where values cannot be refused, the loss must not pass for one."""
    s, t, y = batch((2,), dtype=dtype)
    s[1, (y[1] + 1) % 4] = -inf
    rows = torch.vmap(LOSSES[name])(s, t, y)
    assert rows.isfinite().tolist() == [True, False]


@each_dtype
@pytest.mark.parametrize("name", ["pld_loss", "cross_entropy"])
def test_masked_label_is_no_number_under_vmap(name, dtype):
    s, t, y = batch((2,), dtype=dtype)
    s[1, y[1]] = -inf
    rows = torch.vmap(LOSSES[name])(s, t, y)
    assert rows.isfinite().tolist() == [True, False]


def test_a_masked_class_and_an_ignored_row_under_vmap():
    s, t, y = batch()
    s[0, 1] = t[0, 1] = -inf
    y[:] = torch.tensor([0, 1, 2])
    both = torch.vmap(torch.func.grad_and_value(losses.pld_loss))
    slopes, values = both(s, t, y)
    for row, single in enumerate(cases.singles(s, t, y)):
        value, slope = exact.pld(*single)
        assert exact.loss_error(values[row], value) < FLOAT64
        assert exact.gradient_error(slopes[row], slope) < FLOAT64
    total = partial(losses.pld_loss, reduction="sum")
    ignored = torch.vmap(total)(s, t, torch.tensor([0, -100, 2]))
    np.testing.assert_allclose(ignored, values * torch.tensor([1, 0, 1]), rtol=FLOAT64)
