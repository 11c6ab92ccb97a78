"""Cross-entropy, ListMLE, P-ListMLE, KD, DIST and DKD in PyTorch, and the four modules."""

from math import exp, inf, log1p

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from torch.nn import functional as F

from pld_edu import losses, reference
from tests.support import cases, exact
from tests.support.tolerances import BY_DTYPE, FLOAT64

TAUS = (0.5, 1.0, 4.0)
DTYPES = {"float64": torch.float64, "float32": torch.float32}
# Near agreement the terms of a Kullback-Leibler divergence cancel: digits count from 1 there.
FROM_ONE = 1.0


def tensors(s, t, y=0, dtype=torch.float64):
    logits = (torch.as_tensor(z, dtype=dtype) for z in (s, t))
    return [*logits, torch.as_tensor(y)]


def gradient(f, s):
    s = s.clone().requires_grad_()
    return torch.autograd.grad(f(s).sum(), s)[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", cases.CLASSES)
@pytest.mark.parametrize("student", cases.STUDENTS)
@pytest.mark.parametrize("scale", cases.SCALES)
def test_cross_entropy_in_60_digits(classes, scale, student, dtype):
    arrays = cases.rows(classes, scale, student, dtype)
    s, _, y = tensors(*arrays, dtype=DTYPES[dtype])
    rows = losses.cross_entropy(s, y, reduction="none")
    slopes = gradient(lambda z: losses.cross_entropy(z, y, reduction="none"), s)
    for row, (a, _, label) in enumerate(cases.singles(*arrays)):
        truth, slope = exact.cross_entropy(a, label)
        assert exact.loss_error(rows[row], truth) < BY_DTYPE[dtype].loss
        assert exact.gradient_error(slopes[row], slope) < BY_DTYPE[dtype].gradient


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", cases.CLASSES)
@pytest.mark.parametrize("student", cases.STUDENTS)
@pytest.mark.parametrize("scale", cases.SCALES)
def test_list_mle_in_60_digits(classes, scale, student, dtype):
    arrays = cases.rows(classes, scale, student, dtype)
    s, t, y = tensors(*arrays, dtype=DTYPES[dtype])
    rows = losses.list_mle(s, t, y, reduction="none")
    slopes = gradient(lambda z: losses.list_mle(z, t, y, reduction="none"), s)
    for row, (a, b, label) in enumerate(cases.singles(*arrays)):
        truth, slope = exact.choices(a, exact.ranking(b, label), [1] * classes)
        assert exact.loss_error(rows[row], truth) < BY_DTYPE[dtype].loss
        assert exact.gradient_error(slopes[row], slope) < BY_DTYPE[dtype].gradient


@pytest.mark.parametrize("lead", cases.LEADS)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_cross_entropy_is_pytorchs(lead, reduction):
    s, _, y = tensors(*cases.batch(lead))
    flat = s.reshape(-1, 5)
    if lead:
        y[(0,) * len(lead)] = -100
    theirs = F.cross_entropy(flat, y.reshape(-1), reduction=reduction)
    theirs = theirs.reshape(lead) if reduction == "none" else theirs
    torch.testing.assert_close(
        losses.cross_entropy(s, y, reduction=reduction), theirs, rtol=FLOAT64, atol=0
    )
    if lead:
        s = s.clone()
        s[(0,) * len(lead)] = torch.nan
        spoilt = losses.cross_entropy(s, y, reduction=reduction)
        torch.testing.assert_close(spoilt, theirs, rtol=FLOAT64, atol=0)
        slope = gradient(lambda z: losses.cross_entropy(z, y, reduction=reduction), s)
        clean = gradient(lambda z: F.cross_entropy(z, y.reshape(-1), reduction=reduction), flat)
        torch.testing.assert_close(slope.reshape(-1, 5), clean, rtol=FLOAT64, atol=1e-15)


def test_cross_entropy_without_a_row_left_is_nan_as_in_pytorch():
    s, y = torch.zeros(2, 3), torch.tensor([-100, -100])
    assert losses.cross_entropy(s, y).isnan()
    assert losses.cross_entropy(s, y, reduction="sum").item() == 0
    assert losses.cross_entropy(s, torch.tensor([1, 1]), ignore_index=1).isnan()


def test_cross_entropy_skips_masked_classes():
    s, _, y = tensors([[1.0, -inf, -inf], [0.5, 1.0, -inf]], [0.0], [0, 1])
    rows = losses.cross_entropy(s, y, reduction="none")
    assert rows.tolist() == [0, pytest.approx(log1p(exp(-0.5)), rel=FLOAT64)]
    other = 1 / (1 + exp(0.5))
    slope = gradient(lambda z: losses.cross_entropy(z, y, reduction="sum"), s)
    expected = torch.tensor([[0, 0, 0], [other, -other, 0]], dtype=torch.float64)
    torch.testing.assert_close(slope, expected, rtol=FLOAT64, atol=0)
    curvature = torch.func.hessian(lambda z: losses.cross_entropy(z, y, reduction="sum"))(s)
    bend = other * (1 - other)
    assert curvature[1, 0, 1, :2].tolist() == pytest.approx([bend, -bend], rel=FLOAT64)
    assert curvature.abs().sum().item() == pytest.approx(4 * bend, rel=FLOAT64)


def test_list_mle_keeps_the_digits_an_epsilon_inside_the_log_loses():
    s, t, y = tensors([0.0, -30.0], [1.0, 0.0], 0)
    slope = gradient(lambda z: losses.list_mle(z, t, y), s)
    assert losses.list_mle(s, t, y).item() == pytest.approx(log1p(exp(-30)), rel=FLOAT64)
    expected = 1 / (1 + exp(30))
    assert slope.tolist() == pytest.approx([-expected, expected], rel=FLOAT64)


def test_position_list_mle_of_many_classes_stays_finite():
    loss = losses.position_list_mle(*tensors(np.zeros(2000), np.arange(2000.0), 3))
    expected = sum(np.log(2000 - k) / 2 ** (k + 1) for k in range(60))
    assert loss.item() == pytest.approx(expected, rel=FLOAT64)


def test_published_values_of_kd_and_dist():
    s, t, _ = tensors(cases.ZS, cases.ZT)
    assert losses.kd_loss(s, t).item() == pytest.approx(1.234336, abs=1e-6)
    assert losses.kd_loss(s, t) == losses.kd_loss(s, t, temperature=4.0)
    assert losses.dist_loss(s, t).item() == pytest.approx(1.712227, abs=1e-6)
    assert losses.dist_loss(s, t, temperature=4.0).item() == pytest.approx(25.90636, abs=1e-5)


@pytest.mark.parametrize(
    ("tau", "target", "within", "total"),
    [(4.0, 0.7439382, 0.7970939, 7.120689), (1.0, 0.6857703, 0.6312529, 5.735793)],
)
def test_published_values_of_dkd(tau, target, within, total):
    given = tensors(cases.ZS, cases.ZT, cases.ZY)
    options = {"temperature": tau}
    first = losses.dkd_loss(*given, **options, beta=0.0).item()
    second = losses.dkd_loss(*given, **options, alpha=0.0, beta=1.0).item()
    assert [first, second] == pytest.approx([target, within], abs=1e-7)
    assert losses.dkd_loss(*given, **options).item() == pytest.approx(total, abs=1e-6)
    assert losses.dkd_loss(*given).item() == pytest.approx(7.120689, abs=1e-6)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("lead", cases.LEADS)
def test_kd_is_pytorchs_kl_div(tau, lead):
    s, t, _ = tensors(*cases.batch(lead))
    log_q, p = ((z / tau).reshape(-1, 5) for z in (s, t))
    log_q, p = log_q.log_softmax(-1), p.softmax(-1)
    batchmean = tau**2 * F.kl_div(log_q, p, reduction="batchmean")
    ours = losses.kd_loss(s, t, temperature=tau)
    torch.testing.assert_close(ours, batchmean, rtol=FLOAT64, atol=0)
    rows = tau**2 * F.kl_div(log_q, p, reduction="none").sum(-1).reshape(lead)
    ours = losses.kd_loss(s, t, temperature=tau, reduction="none")
    torch.testing.assert_close(ours, rows, rtol=FLOAT64, atol=0)
    ours = losses.kd_loss(s, t, temperature=tau, reduction="sum")
    torch.testing.assert_close(ours, rows.sum(), rtol=FLOAT64, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_kd_of_a_probability_that_underflows(dtype):
    s, t, _ = tensors([0.0, 1.0], [0.0, -200.0], dtype=dtype)
    loss = losses.kd_loss(s, t, temperature=1.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(log1p(exp(1)), rel=1e-6)
    slope = gradient(lambda z: losses.kd_loss(z, t, temperature=1.0), s)
    p = 1 / (1 + exp(-1))  # the student's second class, to which the teacher gives nothing
    assert slope.tolist() == pytest.approx([-p, p], rel=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("scale", cases.SCALES)
@pytest.mark.parametrize("student", cases.STUDENTS)
def test_kd_and_dkd_in_60_digits(student, scale, tau, dtype):
    arrays = cases.rows(10, scale, student, dtype, count=2)
    s, t, y = tensors(*arrays, dtype=DTYPES[dtype])
    kd = losses.kd_loss(s, t, temperature=tau, reduction="none")
    dkd = losses.dkd_loss(s, t, y, temperature=tau, reduction="none")
    tolerance = BY_DTYPE[dtype].loss
    for row, (a, b, label) in enumerate(cases.singles(*arrays)):
        for ours, truth in (
            (kd[row], exact.kd(a, b, tau)),
            (dkd[row], exact.dkd(a, b, label, tau)),
        ):
            assert abs(exact.mp.mpf(ours.item()) - truth) < tolerance * max(truth, FROM_ONE)


@pytest.mark.parametrize("name", ["kd_loss", "dkd_loss", "position_list_mle", "dist_loss"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_in_60_digits(name, dtype):
    arrays = cases.rows(4, 3.0, "differs", dtype)
    rows = cases.singles(*arrays)
    s, t, y = tensors(*arrays, dtype=DTYPES[dtype])
    given = (t, y) if name in ("dkd_loss", "position_list_mle") else (t,)
    ours = gradient(lambda z: getattr(losses, name)(z, *given), s)
    for row, (a, b, label) in enumerate(rows):

        def truth(z, row=row, b=b, label=label):
            if name == "dist_loss":
                replaced = [z if i == row else other for i, (other, _, _) in enumerate(rows)]
                return exact.dist(replaced, [t for _, t, _ in rows], 1.0)
            if name == "kd_loss":
                return exact.kd(z, b, 4.0) / len(rows)
            if name == "dkd_loss":
                return exact.dkd(z, b, label, 4.0) / len(rows)
            return exact.pld(z, b, label, alpha="position")[0] / len(rows)

        slope = exact.gradient(truth, a)
        assert exact.gradient_error(ours[row], slope) < BY_DTYPE[dtype].gradient


def test_dkd_of_a_label_the_student_is_sure_is_wrong():
    given = ([0.0, -120.0, -1.0], [1.0, 0.0, 0.5], 1)
    truth = exact.dkd(*given, temperature=1.0)
    loss = losses.dkd_loss(*tensors(*given, dtype=torch.float32), temperature=1.0)
    assert truth > 10
    assert exact.loss_error(loss, truth) < BY_DTYPE["float32"].loss


@pytest.mark.parametrize("tau", TAUS)
def test_dist_is_scipys_pearson(tau):
    s, t, _ = tensors(*cases.batch((6,), classes=4))
    a, b = ((z / tau).softmax(-1).numpy() for z in (s, t))
    inter = 1 - np.mean([pearsonr(x, z).statistic for x, z in zip(a, b, strict=True)])
    intra = 1 - np.mean([pearsonr(x, z).statistic for x, z in zip(a.T, b.T, strict=True)])
    ours = losses.dist_loss(s, t, temperature=tau, beta=2.0, gamma=0.5).item()
    # SciPy has no 1e-8 under the fraction.
    assert ours == pytest.approx(tau**2 * (2.0 * inter + 0.5 * intra), rel=1e-4)
    truth = exact.dist(s.tolist(), t.tolist(), tau, 2.0, 0.5)
    assert exact.loss_error(ours, truth) < FLOAT64


def test_dist_joins_leading_axes_and_one_row_has_a_constant_second_term():
    s, t, _ = tensors(*cases.batch((2, 3)))
    truth = exact.dist(s.reshape(6, 5).tolist(), t.reshape(6, 5).tolist(), 1.0)
    assert exact.loss_error(losses.dist_loss(s, t), truth) < FLOAT64
    row = (s[0, :1].tolist(), t[0, :1].tolist())
    truth = exact.dist(*row, 1.0, 1.0, 0.0) + exact.mp.mpf(0.75)
    assert exact.loss_error(losses.dist_loss(s[0, 0], t[0, 0], gamma=0.75), truth) < FLOAT64


def test_teacher_receives_no_gradient():
    s, t, y = tensors(*cases.batch((4,)))
    s.requires_grad_()
    t.requires_grad_()
    total = losses.kd_loss(s, t) + losses.dist_loss(s, t) + losses.dkd_loss(s, t, y)
    total += losses.list_mle(s, t, y) + losses.position_list_mle(s, t, y)
    total.backward()
    assert t.grad is None
    assert s.grad.abs().max() > 0.01


@pytest.mark.parametrize("name", ["kd_loss", "dkd_loss"])
def test_masked_classes_take_no_part(name):
    s, t, y = tensors(*cases.batch((3,), classes=6)[:2], [0, 3, 5])
    left = torch.tensor([0, 2, 3, 5])
    fewer_s, fewer_t = s[:, left], t[:, left]
    s[:, [1, 4]] = t[:, [1, 4]] = -inf
    extra, extra_left = ((y,), (torch.tensor([0, 2, 3]),)) if name == "dkd_loss" else ((), ())
    f = getattr(losses, name)
    torch.testing.assert_close(
        f(s, t, *extra), f(fewer_s, fewer_t, *extra_left), rtol=FLOAT64, atol=0
    )
    slope = gradient(lambda z: f(z, t, *extra), s)
    expected = torch.zeros_like(s)
    expected[:, left] = gradient(lambda z: f(z, fewer_t, *extra_left), fewer_s)
    torch.testing.assert_close(slope, expected, rtol=0, atol=FLOAT64)


def test_masked_classes_count_in_dist_with_probability_zero():
    s, t, _ = tensors(*cases.batch((3,), classes=6))
    s[:, [1, 4]] = t[:, [1, 4]] = -inf
    truth = exact.dist(s.tolist(), t.tolist(), 2.0)
    assert exact.loss_error(losses.dist_loss(s, t, temperature=2.0), truth) < FLOAT64
    slope = gradient(lambda z: losses.dist_loss(z, t), s)[0]
    others = s.tolist()[1:]
    truth = exact.gradient(lambda z: exact.dist([z, *others], t.tolist(), 1.0), s[0].tolist())
    assert exact.gradient_error(slope, truth) < FLOAT64


@pytest.mark.parametrize("name", ["kd_loss", "dkd_loss", "dist_loss"])
def test_masked_classes_leave_no_nan_in_any_derivative(name):
    s, t, y = tensors(*cases.batch((3,), classes=6)[:2], [0, 3, 5])
    s[:, [1, 4]] = t[:, [1, 4]] = -inf
    extra = (y,) if name == "dkd_loss" else ()

    def f(z):
        return getattr(losses, name)(z, t, *extra)

    assert f(s).isfinite()
    slope, curvature = gradient(f, s), torch.func.hessian(f)(s)
    assert slope.isfinite().all()
    assert (slope[:, [1, 4]] == 0).all()
    assert slope.abs().max() > 1e-3
    assert curvature.isfinite().all()
    assert curvature.abs().max() > 1e-3


def test_dkd_with_every_other_class_masked_has_nothing_to_teach():
    s, t, y = tensors(
        [[1.0, -inf, -inf], [0.5, 1.0, 2.0]], [[2.0, -inf, -inf], [1.0, 0, 3.0]], [0, 1]
    )
    rows = losses.dkd_loss(s, t, y, reduction="none")
    truth = exact.dkd(s[1].tolist(), t[1].tolist(), 1, 4.0)
    assert rows[0].item() == 0
    assert exact.loss_error(rows[1], truth) < FLOAT64
    slope = gradient(lambda z: losses.dkd_loss(z, t, y), s)
    np.testing.assert_array_equal(slope[0], [0, 0, 0])
    assert slope[1].isfinite().all()


def test_class_masked_in_the_teacher_alone_has_probability_zero():
    s, t, y = tensors([1.0, 4.0, 3.0], [0.5, -inf, -1.0], 2)
    far = [0.5, -1e6, -1.0]
    assert exact.loss_error(losses.kd_loss(s, t), exact.kd(s.tolist(), far, 4.0)) < FLOAT64
    slope = exact.gradient(lambda z: exact.kd(z, far, 4.0), s.tolist())
    assert exact.gradient_error(gradient(lambda z: losses.kd_loss(z, t), s), slope) < FLOAT64
    truth = exact.dkd(s.tolist(), far, 2, 4.0)
    assert exact.loss_error(losses.dkd_loss(s, t, y), truth) < FLOAT64
    slope = exact.gradient(lambda z: exact.dkd(z, far, 2, 4.0), s.tolist())
    assert exact.gradient_error(gradient(lambda z: losses.dkd_loss(z, t, y), s), slope) < FLOAT64


def test_one_class_leaves_nothing_to_choose():
    s, t, y = tensors([[2.0], [3.0]], [[1.0], [0.0]], [0, 0])
    assert losses.kd_loss(s, t).item() == 0
    assert losses.cross_entropy(s, y).item() == 0
    for f in (losses.dkd_loss, losses.list_mle, losses.position_list_mle):
        assert f(s, t, y).item() == 0
        assert gradient(lambda z, f=f: f(z, t, y), s).tolist() == [[0], [0]]


@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(2, 9),
    tau=st.floats(0.5, 8),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    lead=st.sampled_from(cases.LEADS),
)
def test_two_roads_to_each_number(seed, classes, tau, reduction, lead):
    arrays = cases.batch(lead, classes=classes, seed=seed)
    s, t, y = tensors(*arrays)

    def same(name, columns, **options):
        values = [
            getattr(package, name)(*(rows[i] for i in columns), **options)
            for package, rows in ((losses, (s, t, y)), (reference, arrays))
        ]
        np.testing.assert_allclose(*values, rtol=1e-11, atol=1e-13)

    same("cross_entropy", (0, 2), reduction=reduction)
    same("list_mle", (0, 1, 2), reduction=reduction)
    same("position_list_mle", (0, 1, 2), reduction=reduction)
    same("kd_loss", (0, 1), temperature=tau, reduction=reduction)
    same("dkd_loss", (0, 1, 2), temperature=tau, alpha=0.5, beta=2.0, reduction=reduction)
    same("dist_loss", (0, 1), temperature=tau, beta=0.5, gamma=2.0)


@pytest.mark.parametrize(
    ("module", "truth"),
    [
        (losses.KDLoss(), lambda ce, kd, dist, dkd: 0.1 * ce + 0.9 * kd(4.0)),
        (
            losses.KDLoss(temperature=2.0, ce_weight=0.7, kd_weight=3.0),
            lambda ce, kd, dist, dkd: 0.7 * ce + 3.0 * kd(2.0),
        ),
        (losses.DISTLoss(), lambda ce, kd, dist, dkd: ce + dist(1.0, 2.0, 2.0)),
        (
            losses.DISTLoss(temperature=4.0, ce_weight=0.5, beta=3.0, gamma=0.25),
            lambda ce, kd, dist, dkd: 0.5 * ce + dist(4.0, 3.0, 0.25),
        ),
        (losses.DKDLoss(), lambda ce, kd, dist, dkd: ce + dkd(4.0, 1.0, 8.0)),
        (
            losses.DKDLoss(temperature=1.0, ce_weight=0.5, alpha=2.0, beta=0.25),
            lambda ce, kd, dist, dkd: 0.5 * ce + dkd(1.0, 2.0, 0.25),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, torch.nn.Module) else "",
)
def test_modules_add_cross_entropy_by_named_weights(module, truth):
    s, t, y = cases.ZS, cases.ZT, cases.ZY
    rows = list(zip(s, t, y, strict=True))
    expected = truth(
        sum(exact.cross_entropy(a, label)[0] for a, _, label in rows) / 2,
        lambda tau: sum(exact.kd(a, b, tau) for a, b, _ in rows) / 2,
        lambda *options: exact.dist(s, t, *options),
        lambda *options: sum(exact.dkd(*row, *options) for row in rows) / 2,
    )
    assert exact.loss_error(module(*tensors(s, t, y)), expected) < FLOAT64
    assert list(module.parameters()) == []
    assert f"temperature={module.temperature}" in repr(module)
    assert f"ce_weight={module.ce_weight}" in repr(module)
