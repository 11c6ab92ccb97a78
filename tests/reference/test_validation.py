"""What only the reference has refuses; the rest is in tests/test_validation.py."""

from math import inf, nan

import numpy as np
import pytest

from pld_edu import reference


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="teacher_logits must be real numbers"):
        reference.teacher_ranking("ab", 0)
    with pytest.raises(ValueError, match="weights must be "):
        reference.rank_weights([1.0, 0.0], [0, 1], weights=None)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros(9), "up to 8 items, got 9.*sample_rankings"),
        ([[1.0, 2.0]], r"scores must be one row \[C\], got shape \(1, 2\)"),
        ([1.0, inf], r"scores must be finite, got inf at index \[1\]"),
        ([], "C >= 1"),
    ],
)
def test_ranking_probabilities_refuse(scores, message):
    with pytest.raises(ValueError, match=message):
        reference.ranking_probabilities(scores)


@pytest.mark.parametrize(
    ("scores", "rng", "message"),
    [
        ([1.0, 2.0], 0, r"rng must be a numpy Generator, got int; write np.random.default_rng"),
        ([1.0, 2.0], np.random.RandomState(0), "got RandomState"),
        ([[1.0, 2.0]], np.random.default_rng(0), r"scores must be one row \[C\]"),
        ([1.0, nan], np.random.default_rng(0), r"scores must be finite, got nan at index \[1\]"),
    ],
)
def test_sampling_refuses(scores, rng, message):
    with pytest.raises(ValueError, match=message):
        reference.sample_rankings(scores, 3, rng)


@pytest.mark.parametrize(
    ("rankings", "message"),
    [
        ([], "at least one ranking of two or more items is needed"),
        ([[], ["a"]], "at least one ranking of two or more items is needed"),
        ([["a", "b"], ["b", "a", "b"]], r"must not repeat an item, got \['b', 'a', 'b'\]"),
        ([["a", "b"]], "1 of the 2 items, "),
        ([[0, 1], [1, 0], [2, 3], [3, 2]], "2 of the 4 items, "),
        ([["a", "b"], ["b", "a"], ["c"]], "1 of the 3 items, c. They were never"),
        ([[1, 2, 3], [2, 1, 3]], "1 of the 3 items, 3. They were never"),
        ([[3, 1, 2], [3, 2, 1]], "1 of the 3 items, 3. They were never"),
    ],
)
def test_fit_refuses_what_has_no_finite_scores(rankings, message):
    with pytest.raises(ValueError, match=message):
        reference.fit_scores(rankings)
