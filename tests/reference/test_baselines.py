"""Cross-entropy, ListMLE, P-ListMLE, KD, DIST and DKD in NumPy against other people's code."""

from math import exp, log, log1p

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln, rel_entr, softmax
from scipy.stats import pearsonr
from torch.nn import functional as F

from pld_edu import reference
from tests.support import cases, exact
from tests.support.tolerances import FLOAT64

TAUS = (0.5, 1.0, 4.0)


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
@pytest.mark.parametrize("student", cases.STUDENTS)
@pytest.mark.parametrize("scale", cases.SCALES)
def test_cross_entropy_and_list_mle_in_60_digits(classes, scale, student):
    s, t, y = cases.rows(classes, scale, student)
    cross_entropy = reference.cross_entropy(s, y, reduction="none")
    list_mle = reference.list_mle(s, t, y, reduction="none")
    for row, (a, b, label) in enumerate(cases.singles(s, t, y)):
        assert exact.loss_error(cross_entropy[row], exact.cross_entropy(a, label)[0]) < FLOAT64
        truth = exact.choices(a, exact.ranking(b, label), [1] * classes)[0]
        assert exact.loss_error(list_mle[row], truth) < FLOAT64


@pytest.mark.parametrize("classes", [1, 2, 7, 40])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_special_cases_of_pld(classes, scale):
    """Paper, Sec. 4.2: the weights alone decide which loss it is."""
    s, t, y = cases.batch((6,), classes=classes, scale=scale)
    cross_entropy = reference.cross_entropy(s, y, reduction="none")
    label_weight = np.take_along_axis(softmax(t / 3, axis=-1), y[:, None], axis=-1)[:, 0]
    expected = {
        "one-hot": cross_entropy,
        "label": label_weight * cross_entropy,
        "uniform": reference.list_mle(s, t, y, reduction="none") / classes,
        "position": reference.position_list_mle(s, t, y, reduction="none"),
    }
    for weights, losses in expected.items():
        ours = reference.pld_loss(s, t, y, temperature=3.0, weights=weights, reduction="none")
        np.testing.assert_allclose(ours, losses, rtol=FLOAT64)


def test_list_mle_is_minus_the_log_likelihood_of_the_teachers_ranking():
    s, t, y = cases.batch((5,), classes=6)
    orders = [exact.ranking(b, label) for _, b, label in cases.singles(s, t, y)]
    losses = reference.list_mle(s, t, y, reduction="none")
    np.testing.assert_allclose(losses, -reference.log_likelihood(s, orders), rtol=FLOAT64)


def test_list_mle_keeps_the_digits_an_epsilon_inside_the_log_loses():
    assert reference.list_mle([0, -30], [1, 0], 0) == pytest.approx(log1p(exp(-30)), rel=FLOAT64)


def test_student_without_a_preference():
    _, t, y = cases.batch((4,), classes=9)
    s, nine = np.zeros(t.shape), np.arange(9.0, 0.0, -1.0)
    assert reference.cross_entropy(s, y) == pytest.approx(log(9), rel=FLOAT64)
    assert reference.list_mle(s, t, y) == pytest.approx(gammaln(10), rel=FLOAT64)
    weights = 2.0 ** (nine - 1) - 1
    expected = weights @ np.log(nine) / weights.sum()
    assert reference.position_list_mle(s, t, y) == pytest.approx(expected, rel=FLOAT64)


def test_position_list_mle_of_many_classes_stays_finite():
    """With 2000 classes the weights are 1/2, 1/4, ...; an even student costs about log 2000."""
    loss = reference.position_list_mle(np.zeros(2000), np.arange(2000.0), 3)
    expected = sum(log(2000 - k) / 2 ** (k + 1) for k in range(60))
    assert loss == pytest.approx(expected, rel=FLOAT64)


@pytest.mark.parametrize("lead", cases.LEADS)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_cross_entropy_is_pytorchs(lead, reduction):
    s, _, y = cases.batch(lead)
    if lead:
        y[(0,) * len(lead)] = -100
        s[(0,) * len(lead)] = np.nan
    ours = reference.cross_entropy(s, y, reduction=reduction)
    s_finite = torch.tensor(np.nan_to_num(s)).reshape(-1, s.shape[-1])
    theirs = F.cross_entropy(s_finite, torch.tensor(y).reshape(-1), reduction=reduction)
    theirs = theirs.reshape(lead) if reduction == "none" else theirs
    np.testing.assert_allclose(ours, theirs, rtol=FLOAT64)


def test_cross_entropy_without_a_row_left_is_nan_as_in_pytorch():
    assert np.isnan(reference.cross_entropy(np.zeros((2, 3)), np.array([-100, -100])))
    assert (
        reference.cross_entropy(np.zeros((2, 3)), np.array([7, 7]), ignore_index=7, reduction="sum")
        == 0
    )


def test_cross_entropy_skips_masked_classes():
    loss = reference.cross_entropy([1.0, -np.inf, 3.0], 0)
    assert loss == pytest.approx(log1p(exp(2)), rel=FLOAT64)


def test_published_values_of_kd_and_its_temperature():
    ours = reference.kd_loss(cases.ZS, cases.ZT)
    assert ours == pytest.approx(1.234336, abs=1e-6)
    assert ours == reference.kd_loss(cases.ZS, cases.ZT, temperature=4.0)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("lead", cases.LEADS)
def test_kd_is_pytorchs_kl_div_and_scipys_rel_entr(tau, lead):
    s, t, _ = cases.batch(lead)
    rows = reference.kd_loss(s, t, temperature=tau, reduction="none")
    p, q = softmax(t / tau, axis=-1), softmax(s / tau, axis=-1)
    assert np.shape(rows) == lead
    np.testing.assert_allclose(rows, tau**2 * rel_entr(p, q).sum(axis=-1), rtol=FLOAT64)
    log_q, log_p = (torch.tensor(z / tau).log_softmax(-1).reshape(-1, 5) for z in (s, t))
    batchmean = tau**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True).item()
    assert reference.kd_loss(s, t, temperature=tau) == pytest.approx(batchmean, rel=FLOAT64)
    total = reference.kd_loss(s, t, temperature=tau, reduction="sum")
    assert total == pytest.approx(batchmean * max(1, np.size(rows)), rel=FLOAT64)


def test_kd_of_a_probability_that_underflows():
    """zt = [0, -200] leaves log(1 + e) of the student's first class, in float32 too."""
    for gap in (-200, -2000):
        kd = reference.kd_loss([0, 1], [0, gap], temperature=1.0)
        assert kd == pytest.approx(log1p(exp(1)), rel=FLOAT64)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("scale", cases.SCALES)
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_kd_and_dkd_in_60_digits(classes, scale, tau):
    s, t, y = cases.rows(classes, scale, "differs")
    kd = reference.kd_loss(s, t, temperature=tau, reduction="none")
    dkd = reference.dkd_loss(s, t, y, temperature=tau, reduction="none")
    for row, (a, b, label) in enumerate(cases.singles(s, t, y)):
        assert exact.loss_error(kd[row], exact.kd(a, b, tau)) < FLOAT64
        assert exact.loss_error(dkd[row], exact.dkd(a, b, label, tau)) < FLOAT64


@pytest.mark.parametrize(
    ("tau", "target", "within", "total"),
    [(4.0, 0.7439382, 0.7970939, 7.120689), (1.0, 0.6857703, 0.6312529, 5.735793)],
)
def test_published_values_of_dkd(tau, target, within, total):
    given = (cases.ZS, cases.ZT, cases.ZY)
    parts = [
        reference.dkd_loss(*given, temperature=tau, alpha=alpha, beta=1 - alpha) for alpha in (1, 0)
    ]
    assert parts == pytest.approx([target, within], abs=1e-7)
    assert reference.dkd_loss(*given, temperature=tau) == pytest.approx(total, abs=1e-6)
    assert reference.dkd_loss(*given) == pytest.approx(7.120689, abs=1e-6)  # tau 4 by default


def test_dkd_of_a_label_the_student_is_sure_is_wrong():
    """The input on which log(softmax) is infinite."""
    given = ([0.0, -120.0, -1.0], [1.0, 0.0, 0.5], 1)
    truth = exact.dkd(*given, temperature=1.0)
    assert truth > 10
    assert exact.loss_error(reference.dkd_loss(*given, temperature=1.0), truth) < FLOAT64


@pytest.mark.parametrize("tau", TAUS)
def test_dkd_of_two_classes_is_kd(tau):
    s, t, y = cases.batch((4,), classes=2)
    dkd = reference.dkd_loss(s, t, y, temperature=tau, beta=123.0)
    assert dkd == pytest.approx(reference.kd_loss(s, t, temperature=tau), rel=FLOAT64)


def test_dkd_weighted_by_the_teachers_rest_is_kd():
    """Zhao et al., Sec. 3.2: KD = TCKD + (1 - p_label) NCKD."""
    s, t, y = cases.batch((), classes=6)
    rest = 1 - softmax(t)[y]
    dkd = reference.dkd_loss(s, t, y, temperature=1.0, alpha=1.0, beta=rest)
    assert dkd == pytest.approx(reference.kd_loss(s, t, temperature=1.0), rel=FLOAT64)


@pytest.mark.parametrize(("tau", "value"), [(1.0, 1.712227), (4.0, 25.90636)])
def test_published_values_of_dist(tau, value):
    ours = reference.dist_loss(cases.ZS, cases.ZT, temperature=tau)
    assert ours == pytest.approx(value, rel=1e-6)
    truth = exact.dist(cases.ZS, cases.ZT, tau)
    assert exact.loss_error(ours, truth) < FLOAT64
    if tau == 1.0:
        assert ours == reference.dist_loss(cases.ZS, cases.ZT)


@pytest.mark.parametrize("tau", TAUS)
def test_dist_is_scipys_pearson(tau):
    s, t, _ = cases.batch((6,), classes=4)
    a, b = softmax(s / tau, axis=-1), softmax(t / tau, axis=-1)
    inter = 1 - np.mean([pearsonr(x, z).statistic for x, z in zip(a, b, strict=True)])
    intra = 1 - np.mean([pearsonr(x, z).statistic for x, z in zip(a.T, b.T, strict=True)])
    ours = reference.dist_loss(s, t, temperature=tau, beta=2.0, gamma=0.5)
    # SciPy has no 1e-8 under the fraction.
    assert ours == pytest.approx(tau**2 * (2.0 * inter + 0.5 * intra), rel=1e-4)
    truth = exact.dist(s.tolist(), t.tolist(), tau, 2.0, 0.5)
    assert exact.loss_error(ours, truth) < FLOAT64


def test_dist_joins_leading_axes_to_one_batch():
    s, t, _ = cases.batch((2, 3))
    truth = exact.dist(s.reshape(6, 5).tolist(), t.reshape(6, 5).tolist(), 1.0)
    assert exact.loss_error(reference.dist_loss(s, t), truth) < FLOAT64


def test_dist_of_one_row_has_a_constant_second_term():
    s, t, _ = cases.batch((1,))
    first = exact.dist(s.tolist(), t.tolist(), 1.0, 1.0, 0.0)
    loss = reference.dist_loss(s[0], t[0], gamma=0.75)
    assert exact.loss_error(loss, first + exact.mp.mpf(0.75)) < FLOAT64


def test_dist_of_a_student_without_a_preference_is_the_whole_distance():
    _, t, _ = cases.batch((4,))
    loss = reference.dist_loss(np.zeros(t.shape), t, temperature=2.0, beta=1.0, gamma=3.0)
    assert loss == pytest.approx(2.0**2 * (1 + 3), rel=FLOAT64)


def test_masked_classes_take_no_part():
    s, t, y = cases.batch((3,), classes=6)
    s[:, [1, 4]] = t[:, [1, 4]] = -np.inf
    y, left, y_left = np.array([0, 3, 5]), [0, 2, 3, 5], np.array([0, 2, 3])
    fewer = (s[:, left], t[:, left])
    kd, dkd = reference.kd_loss(s, t), reference.dkd_loss(s, t, y)
    assert kd == pytest.approx(reference.kd_loss(*fewer), rel=FLOAT64)
    assert dkd == pytest.approx(reference.dkd_loss(*fewer, y_left), rel=FLOAT64)
    truths = [exact.kd(a, b, 4.0) for a, b, _ in cases.singles(*fewer, y_left)]
    assert exact.loss_error(kd, sum(truths) / 3) < FLOAT64


def test_masked_classes_count_in_dist_with_probability_zero():
    s, t, _ = cases.batch((3,), classes=6)
    s[:, [1, 4]] = t[:, [1, 4]] = -np.inf
    truth = exact.dist(s.tolist(), t.tolist(), 2.0)
    assert exact.loss_error(reference.dist_loss(s, t, temperature=2.0), truth) < FLOAT64


def test_class_masked_in_the_teacher_alone_has_probability_zero():
    s, t = [1.0, 4.0, 3.0], [0.5, -np.inf, -1.0]
    truth = exact.kd(s, [0.5, -1e6, -1.0], 4.0)
    assert exact.loss_error(reference.kd_loss(s, t), truth) < FLOAT64
    truth = exact.dkd(s, [0.5, -1e6, -1.0], 2, 4.0)
    assert exact.loss_error(reference.dkd_loss(s, t, 2), truth) < FLOAT64


def test_one_class_leaves_nothing_to_choose():
    one = ([[2.0], [3.0]], [[1.0], [0.0]])
    assert reference.kd_loss(*one) == 0.0
    for f in (reference.dkd_loss, reference.list_mle, reference.position_list_mle):
        assert f(*one, [0, 0]) == 0.0
    assert reference.cross_entropy(one[0], [0, 0]) == 0.0


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("lead", cases.LEADS)
@pytest.mark.parametrize("name", ["list_mle", "position_list_mle", "dkd_loss"])
def test_reductions_over_any_leading_shape(name, lead, reduction):
    s, t, y = cases.batch(lead)

    def truth(a, b, label):
        if name == "dkd_loss":
            return exact.dkd(a, b, label, 4.0)
        weights = exact.weights("uniform" if name == "list_mle" else "position", b, range(5), 1.0)
        share = 5 if name == "list_mle" else 1
        return share * exact.choices(a, exact.ranking(b, label), weights)[0]

    rows = np.array([float(truth(*row)) for row in cases.singles(s, t, y)])
    expected = {"none": rows.reshape(lead), "mean": rows.mean(), "sum": rows.sum()}[reduction]
    ours = getattr(reference, name)(s, t, y, reduction=reduction)
    assert np.shape(ours) == np.shape(expected)
    np.testing.assert_allclose(ours, expected, rtol=FLOAT64)


@given(shift=st.floats(-100, 100), seed=st.integers(0, 1000))
def test_only_differences_of_logits_count(shift, seed):
    s, t, y = cases.batch((3,), seed=seed)
    for f in (reference.pld_loss, reference.list_mle, reference.dkd_loss):
        assert f(s + shift, t - shift, y) == pytest.approx(f(s, t, y), rel=1e-9)
    for f in (reference.kd_loss, reference.dist_loss):
        assert f(s + shift, t - shift) == pytest.approx(f(s, t), rel=1e-9)
