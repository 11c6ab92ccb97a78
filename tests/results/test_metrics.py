import re

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import softmax
from torch.nn import functional as F

from pld_edu.results.metrics import (
    kl_divergence,
    rank_correlation,
    reliability,
    top_k_accuracy,
    top_k_overlap,
)


def pair(ties=False):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, size=(2, 20, 12))
    return np.round(logits) if ties else logits


def first(row, k):
    """The k largest, of equal ones the lower index first."""
    return sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_accuracy_by_sorting_each_row(k):
    rng = np.random.default_rng(0)
    logits = rng.integers(4, size=(500, 8)).astype(np.float16)  # full of ties
    labels = rng.integers(8, size=500)
    right = [y in first(row, k) for row, y in zip(logits.tolist(), labels, strict=True)]
    assert top_k_accuracy(logits, labels, k) == 100 * np.mean(right)


def test_of_equal_logits_the_lower_class_comes_first():
    logits = np.zeros((2, 3))
    assert top_k_accuracy(logits, np.array([0, 0]), 1) == 100.0
    assert top_k_accuracy(logits, np.array([1, 2]), 1) == 0.0
    assert top_k_accuracy(logits, np.array([1, 2]), 2) == 50.0
    assert top_k_overlap([[1.0, 1.0, 0.0]], [[1.0, 0.0, 1.0]], 1) == [1.0]
    assert top_k_overlap([[1.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]], 1) == [0.0]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 3, 12])
def test_top_k_overlap_is_that_of_sets(k, ties):
    t, s = pair(ties)
    expected = [len({*first(a, k)} & {*first(b, k)}) / k for a, b in zip(t, s, strict=True)]
    np.testing.assert_allclose(top_k_overlap(t, s, k), expected)


def test_kl_divergence_is_torchs():
    t, s = (torch.from_numpy(each) for each in pair())
    expected = F.kl_div(s.log_softmax(-1), t.log_softmax(-1), log_target=True, reduction="none")
    np.testing.assert_allclose(kl_divergence(t, s), expected.sum(-1), rtol=1e-12)


def test_kl_divergence_ignores_a_constant_and_has_a_direction():
    t, _ = pair()
    np.testing.assert_allclose(kl_divergence(t, t + 7), 0, atol=1e-12)
    even, sure = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    np.testing.assert_allclose(kl_divergence(even, sure), [expected])
    assert kl_divergence(sure, even)[0] < expected


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_scipys_row_by_row(ties):
    t, s = pair(ties)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(t, s, strict=True)]
    np.testing.assert_allclose(rank_correlation(t, s), expected, rtol=1e-12)


def test_rank_correlation_of_the_same_of_the_opposite_and_of_no_order():
    t, _ = pair()
    np.testing.assert_allclose(rank_correlation(t, np.exp(t)), 1)
    np.testing.assert_allclose(rank_correlation(t, -t), -1)
    assert np.isnan(rank_correlation([[1.0, 1.0]], [[1.0, 2.0]])).all()


def sure_to(probability):
    """Logits of two classes whose first has this probability."""
    return [np.log(probability), np.log(1 - probability)]


def test_bins_confidence_accuracy_and_error_by_hand():
    logits = np.array([sure_to(p) for p in (0.55, 0.65, 0.9, 0.95)])
    found = reliability(logits, np.array([0, 1, 0, 0]), bins=5)
    np.testing.assert_array_equal(found.samples, [0, 0, 1, 1, 2])
    np.testing.assert_allclose(found.confidence, [np.nan, np.nan, 0.55, 0.65, 0.925])
    np.testing.assert_allclose(found.accuracy, [np.nan, np.nan, 1, 0, 1])
    assert found.expected_error == pytest.approx((0.45 + 0.65 + 2 * 0.075) / 4)
    assert found.overconfidence == pytest.approx((-0.45 + 0.65 - 2 * 0.075) / 4)


def test_reliability_against_a_loop_over_samples():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(0, 2, size=(500, 7)), generator.integers(7, size=500)
    found = reliability(logits, labels)
    probabilities = softmax(logits, axis=-1)
    error = 0.0
    for low in np.arange(15) / 15:
        inside = [
            (p.max(), p.argmax() == y)
            for p, y in zip(probabilities, labels, strict=True)
            if low < p.max() <= low + 1 / 15
        ]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            error += len(inside) / 500 * abs(confidence - right)
    assert found.expected_error == pytest.approx(error)
    assert found.samples.sum() == 500


def test_a_network_that_knows_how_little_it_knows_has_no_error():
    # Of the answers that it is 75% sure of, three of four are right.
    logits = np.array([sure_to(0.75)] * 4)
    found = reliability(logits, np.array([0, 0, 0, 1]))
    assert found.expected_error == pytest.approx(0, abs=1e-12)
    assert found.overconfidence == pytest.approx(0, abs=1e-12)


def test_absolute_certainty_falls_into_the_last_bin():
    found = reliability([[1000.0, 0.0]], [1])
    assert found.samples[-1] == 1
    assert found.expected_error == found.overconfidence == 1


def test_a_sample_on_an_edge_belongs_to_the_bin_below():
    found = reliability([[0.0, 0.0]], [0], bins=2)
    np.testing.assert_array_equal(found.samples, [1, 0])


OF_LABELS = [reliability, lambda logits, labels: top_k_accuracy(logits, labels, 1)]
OF_PAIRS = [kl_divergence, rank_correlation, lambda logits, other: top_k_overlap(logits, other, 1)]


@pytest.mark.parametrize("shapes", [((0, 3), (0,)), ((2, 3), (1,)), ((3,), (3,)), ((2, 3), (2, 3))])
@pytest.mark.parametrize("measure", OF_LABELS)
def test_labels_that_do_not_fit(measure, shapes):
    logits, labels = (np.zeros(shape, dtype=int) for shape in shapes)
    got = f"got {list(shapes[0])} and {list(shapes[1])}"
    message = f"logits must be [N, C] and labels [N] with N at least 1, {got}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measure(logits, labels)


@pytest.mark.parametrize("shapes", [((0, 3), (0, 3)), ((2, 3), (2, 4)), ((3,), (3,)), ((2, 3), 2)])
@pytest.mark.parametrize("measure", OF_PAIRS)
def test_other_logits_that_do_not_fit(measure, shapes):
    first, second = (np.zeros(shape) for shape in shapes)
    got = f"got {list(first.shape)} and {list(second.shape)}"
    message = f"logits must be [N, C] and other_logits [N, C] with N at least 1, {got}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measure(first, second)


@pytest.mark.parametrize("k", [0, 13])
def test_more_choices_than_classes(k):
    t, s = pair()
    for measure, other in ((top_k_overlap, s), (top_k_accuracy, np.zeros(20, dtype=int))):
        with pytest.raises(ValueError, match=rf"k must lie in 1\.\.12, the classes, got {k}"):
            measure(t, other, k)


def test_no_bins():
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        reliability([[0.0, 1.0]], [0], bins=0)
