import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from pld_edu.results.metrics import kl_divergence, rank_correlation, top_k_overlap


def pair(ties=False):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, size=(2, 20, 12))
    return np.round(logits) if ties else logits


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


def test_top_k_overlap_is_that_of_sets():
    t, s = pair()
    for k in (1, 3, 12):
        expected = [
            len({*sorted(range(12), key=lambda c: -a[c])[:k]} & {*np.argsort(b)[::-1][:k]}) / k
            for a, b in zip(t, s, strict=True)
        ]
        np.testing.assert_allclose(top_k_overlap(t, s, k), expected)


def test_of_equal_logits_the_lower_class_comes_first():
    assert top_k_overlap([[1.0, 1.0, 0.0]], [[1.0, 0.0, 1.0]], 1) == [1.0]
    assert top_k_overlap([[1.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]], 1) == [0.0]


@pytest.mark.parametrize("measure", [kl_divergence, rank_correlation])
def test_shapes_that_do_not_fit(measure):
    with pytest.raises(ValueError, match=r"one shape \[N, C\], got \[2, 3\] and \[2, 4\]"):
        measure(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"got \[3\] and \[3\]"):
        measure(np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("k", [0, 13])
def test_more_choices_than_classes(k):
    with pytest.raises(ValueError, match=rf"k must lie in 1\.\.12, the classes, got {k}"):
        top_k_overlap(*pair(), k)
