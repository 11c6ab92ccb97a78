"""What the reference refuses, and the sentence it says why."""

from math import inf, nan

import numpy as np
import pytest

from pld_edu import reference
from tests.support import bad_input

CALLS = bad_input.refused_calls(reference, extra=("pld_gradient", "pld_hessian"))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [pytest.param(*call[1:], id=call[0]) for call in CALLS],
)
def test_losses_refuse(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(reference, function)(**arguments)


def test_every_loss_accepts_what_the_bad_inputs_are_made_from():
    for _, function, arguments, _ in CALLS:
        kept = {k: v for k, v in bad_input.GOOD.items() if k in arguments}
        assert np.isfinite(getattr(reference, function)(**kept)).all()


@pytest.mark.parametrize("name", bad_input.LOSSES)
def test_empty_batch_has_no_mean(name):
    empty = {
        "student_logits": np.zeros((0, 3)),
        "teacher_logits": np.zeros((0, 3)),
        "labels": np.zeros(0, int),
    }
    arguments = {k: empty[k] for k in bad_input.takes(reference, name)}
    with pytest.raises(ValueError, match=r"the batch is empty \(0 rows\).*skip it"):
        getattr(reference, name)(**arguments)


@pytest.mark.parametrize("derivative", [reference.pld_gradient, reference.pld_hessian])
def test_empty_batch_has_no_mean_derivative(derivative):
    with pytest.raises(ValueError, match=r"the batch is empty \(0 rows\)"):
        derivative(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, int))


@pytest.mark.parametrize("f", [reference.log_likelihood, reference.log_likelihood_gradient])
@pytest.mark.parametrize(("scores", "ranking", "top", "message"), bad_input.BAD_LIKELIHOODS)
def test_likelihood_refuses(f, scores, ranking, top, message):
    with pytest.raises(ValueError, match=message):
        f(scores, ranking, top)


@pytest.mark.parametrize(
    ("t", "y", "message"),
    [
        ([1.0, nan], 0, r"teacher_logits must be finite.*got nan at index \[1\]"),
        ([inf, 1.0], 0, r"teacher_logits must be finite.*got inf at index \[0\]"),
        ([0.0, 1.0], 2, r"labels must lie in 0\.\.1 for 2 classes, got 2"),
        ([0.0, 1.0], -100, r"labels must lie in 0\.\.1 for 2 classes, got -100"),
        ([0.0, 1.0], 0.0, "labels must be integer class indices"),
        ([0.0, 1.0], [0], r"labels must have one entry per row of logits, shape \(\), got"),
        ([], 0, "C >= 1 classes"),
        ("ab", 0, "teacher_logits must be real numbers"),
    ],
)
def test_teacher_ranking_refuses(t, y, message):
    with pytest.raises(ValueError, match=message):
        reference.teacher_ranking(t, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature must be positive and finite, got 0"),
        ({"temperature": "1"}, "temperature must be a number, got str"),
        ({"weights": "teachers"}, "weights must be one of .*got 'teachers'"),
        ({"weights": [1.0, -1.0]}, "weights must be finite and not negative"),
        ({"weights": [[1.0, 0.0]]}, r"shape of the logits, \(2,\), got \(1, 2\)"),
        ({"weights": None}, "weights must be "),
    ],
)
def test_rank_weights_refuse(options, message):
    with pytest.raises(ValueError, match=message):
        reference.rank_weights([1.0, 0.0], [0, 1], **options)


@pytest.mark.parametrize(
    ("t", "ranking"),
    [([1.0, nan], [0, 1]), ([1.0, 0.0], [0, 0]), ([1.0, 0.0], [0, 2]), ([1.0, 0.0], [0])],
)
def test_rank_weights_refuse_what_is_no_ranking_of_the_teachers_classes(t, ranking):
    with pytest.raises(ValueError, match=r"teacher_logits must|ranking must"):
        reference.rank_weights(t, ranking)


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
