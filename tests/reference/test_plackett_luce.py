"""The Plackett-Luce model against brute force, 60 digits, choix and Hunter's published fit."""

from itertools import combinations, permutations
from math import exp, factorial, log, prod

import choix
import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from scipy.stats import chisquare

from pld_edu import reference
from tests.support import cases, exact
from tests.support.tolerances import DIFFERENCES, FLOAT64

SCORES = [0.3, -1.2, 2.0, 0.7]
NEVER_ABOVE_ANYONE = ("Andy Hillenburg", "Gary Bradberry", "Jason Hedlesky", "Randy Renfrow")


def literal_probability(scores, ranking, top=None):
    """The definition: a product of choices, each a fraction of the worths that are left."""
    worth = [exp(scores[i]) for i in ranking]
    unlisted = sum(exp(s) for i, s in enumerate(scores) if i not in ranking)
    tops = range(len(ranking) if top is None else top)
    return prod(worth[k] / (sum(worth[k:]) + unlisted) for k in tops)


@pytest.mark.parametrize("scores", [[0.7], [0.0, 3.0], SCORES, [5.0, -5.0, 0.0, 1.0, 1.0, -2.0]])
def test_all_rankings_have_the_product_of_their_choices_and_sum_to_one(scores):
    probabilities = reference.ranking_probabilities(scores)
    assert list(probabilities) == list(permutations(range(len(scores))))
    assert sum(probabilities.values()) == pytest.approx(1, rel=FLOAT64)
    for ranking, probability in probabilities.items():
        assert probability == pytest.approx(literal_probability(scores, ranking), rel=FLOAT64)


def test_equal_scores_make_all_rankings_equal():
    probabilities = reference.ranking_probabilities([2.0] * 5)
    assert list(probabilities.values()) == pytest.approx([1 / factorial(5)] * 120, rel=FLOAT64)


@pytest.mark.parametrize("top", [1, 2, 3, 4])
def test_top_choices_are_a_marginal_of_full_rankings(top):
    full = {ranking: literal_probability(SCORES, ranking) for ranking in permutations(range(4))}
    for prefix in permutations(range(4), top):
        marginal = sum(p for ranking, p in full.items() if ranking[:top] == prefix)
        rest = [i for i in range(4) if i not in prefix]
        of_the_listed = reference.log_likelihood(SCORES, list(prefix))
        of_a_full_ranking = reference.log_likelihood(SCORES, [*prefix, *rest], top=top)
        assert exp(of_the_listed) == pytest.approx(marginal, rel=FLOAT64)
        assert exp(of_a_full_ranking) == pytest.approx(marginal, rel=FLOAT64)


@pytest.mark.parametrize("scale", cases.SCALES)
@pytest.mark.parametrize(("listed", "top"), [(40, None), (40, 7), (12, None), (12, 3), (1, 1)])
def test_likelihood_and_gradient_in_60_digits(scale, listed, top):
    rng = np.random.default_rng([int(scale), listed])
    scores = rng.normal(scale=scale, size=40)
    for ranking in (rng.permutation(40)[:listed], np.argsort(-scores)[:listed]):
        truth, slope = exact.log_likelihood(scores.tolist(), ranking.tolist(), top)
        value = reference.log_likelihood(scores, ranking, top)
        gradient = reference.log_likelihood_gradient(scores, ranking, top)
        assert isinstance(value, float)
        assert exact.loss_error(value, truth) < FLOAT64
        assert exact.gradient_error(gradient, slope) < FLOAT64


@pytest.mark.parametrize("scale", [1.0, 5.0, 20.0])
def test_gradient_is_the_central_difference_of_the_likelihood(scale):
    scores = np.random.default_rng(0).normal(scale=scale, size=6)
    ranking, step = [3, 0, 5, 1], 1e-5
    differences = [
        (
            reference.log_likelihood(scores + step * e, ranking, top=3)
            - reference.log_likelihood(scores - step * e, ranking, top=3)
        )
        / (2 * step)
        for e in np.eye(6)
    ]
    gradient = reference.log_likelihood_gradient(scores, ranking, top=3)
    np.testing.assert_allclose(gradient, differences, rtol=0, atol=DIFFERENCES)


def test_gradient_is_autograd_of_the_literal_formula():
    scores = torch.tensor(SCORES, dtype=torch.float64, requires_grad=True)
    ranking = [2, 0, 3, 1]
    ranked = scores[ranking]
    sum(ranked[k] - ranked[k:].logsumexp(0) for k in range(4)).backward()
    gradient = reference.log_likelihood_gradient(SCORES, ranking)
    np.testing.assert_allclose(gradient, scores.grad, rtol=FLOAT64)


def test_one_row_of_scores_serves_many_rankings_and_one_ranking_many_rows():
    rankings = np.array([[0, 1, 2, 3], [3, 1, 2, 0], [2, 0, 1, 3]])
    many_rankings = reference.log_likelihood(SCORES, rankings)
    expected = [log(literal_probability(SCORES, r)) for r in rankings]
    np.testing.assert_allclose(many_rankings, expected, rtol=FLOAT64)

    scores = np.random.default_rng(1).normal(size=(2, 3, 4))
    values = reference.log_likelihood(scores, [3, 0])
    gradients = reference.log_likelihood_gradient(scores, [3, 0])
    assert values.shape == (2, 3)
    assert gradients.shape == scores.shape
    for i, j in np.ndindex(2, 3):
        truth, slope = exact.log_likelihood(scores[i, j].tolist(), [3, 0])
        assert exact.loss_error(values[i, j], truth) < FLOAT64
        assert exact.gradient_error(gradients[i, j], slope) < FLOAT64


def test_likelihood_is_choix():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=9)
    rankings = [rng.permutation(9)[:length] for length in (9, 9, 5, 2)]
    # choix ranks the listed items alone, so the others are taken out of the scores.
    ours = sum(reference.log_likelihood(scores[r], np.arange(len(r))) for r in rankings)
    theirs = choix.log_likelihood_rankings([tuple(r) for r in rankings], scores)
    assert ours == pytest.approx(theirs, rel=FLOAT64)


def test_log_odds_against_each_choice():
    ranked = np.random.default_rng(3).normal(scale=4, size=(3, 6))
    odds = reference.log_odds_against(ranked)
    for k in range(5):
        expected = logsumexp(ranked[:, k + 1 :], axis=-1) - ranked[:, k]
        np.testing.assert_allclose(odds[:, k], expected, rtol=FLOAT64)
    assert (odds[:, 5] == -np.inf).all()


def test_log_odds_skip_masked_classes():
    odds = reference.log_odds_against([1.0, -np.inf, 2.0, -np.inf])
    np.testing.assert_allclose(odds, [1.0, np.inf, -np.inf, np.inf], rtol=FLOAT64)


def test_samples_have_the_exact_probabilities():
    scores, n = [1.0, 0.0, -0.5, 2.0], 20_000
    drawn = reference.sample_rankings(scores, n, np.random.default_rng(0))
    assert drawn.shape == (n, 4)
    counts = dict.fromkeys(permutations(range(4)), 0)
    for ranking in drawn.tolist():
        counts[tuple(ranking)] += 1
    expected = [n * literal_probability(scores, ranking) for ranking in counts]
    assert chisquare(list(counts.values()), expected).pvalue > 0.001


def test_first_places_among_many_items_follow_the_softmax():
    scores = np.random.default_rng(4).normal(size=30)
    drawn = reference.sample_rankings(scores, 20_000, np.random.default_rng(5))
    counts = np.bincount(drawn[:, 0], minlength=30)
    assert chisquare(counts, 20_000 * softmax(scores)).pvalue > 0.001
    assert (np.sort(drawn, axis=-1) == np.arange(30)).all()


def test_samples_repeat_with_the_seed_and_can_be_none():
    first, second = (
        reference.sample_rankings(SCORES, 50, np.random.default_rng(7)) for _ in range(2)
    )
    assert (first == second).all()
    assert reference.sample_rankings(SCORES, 0, np.random.default_rng(7)).shape == (0, 4)


@pytest.fixture(scope="module")
def nascar_fit(nascar_rankings):
    rankings = [[d for d in race if d not in NEVER_ABOVE_ANYONE] for race in nascar_rankings]
    return rankings, reference.fit_scores(rankings)


def test_fit_reproduces_hunters_nascar_scores(nascar_fit):
    rankings, scores = nascar_fit
    published = {  # Hunter (2004), with Austin Cameron at 0
        "PJ Jones": 4.15,
        "Scott Pruett": 3.62,
        "Mark Martin": 2.08,
        "Dave Marcis": 0.03,
        "Joe Varde": -0.15,
        "Dick Trickle": -0.31,
    }
    assert len(rankings) == 36
    assert len(scores) == 83
    assert list(scores) == sorted(scores)
    assert {d: round(scores[d] - scores["Austin Cameron"], 2) for d in published} == published
    assert sum(scores.values()) == pytest.approx(0, abs=1e-9)


def test_fit_reaches_the_published_likelihood(nascar_fit):
    rankings, scores = nascar_fit
    total = sum(
        reference.log_likelihood([scores[driver] for driver in race], np.arange(len(race)))
        for race in rankings
    )
    assert -total == pytest.approx(4191.0973, abs=5e-5)


def test_fit_is_choix_on_the_same_races(nascar_fit):
    rankings, scores = nascar_fit
    number = {driver: i for i, driver in enumerate(scores)}
    coded = [tuple(number[driver] for driver in race) for race in rankings]
    theirs = choix.ilsr_rankings(len(scores), coded, alpha=0.0, tol=1e-10)
    np.testing.assert_allclose(list(scores.values()), theirs - theirs.mean(), atol=1e-6)


def test_separable_rankings_name_the_drivers_without_a_finite_score(nascar_rankings):
    with pytest.raises(ValueError, match="4 of the 87 items") as error:
        reference.fit_scores(nascar_rankings)
    assert ", ".join(NEVER_ABOVE_ANYONE) in str(error.value)
    assert "Mark Martin" not in str(error.value)


def test_fit_of_two_items_is_the_log_of_the_odds():
    scores = reference.fit_scores([["b", "a"]] * 3 + [["a", "b"]])
    assert list(scores) == ["a", "b"]
    assert scores["b"] - scores["a"] == pytest.approx(log(3), abs=1e-7)


def test_fit_recovers_the_scores_that_made_the_rankings():
    made = np.array([1.0, 0.0, -0.5, 2.0, -2.5])
    rankings = reference.sample_rankings(made, 4000, np.random.default_rng(6))
    scores = reference.fit_scores(rankings)
    assert list(scores) == [0, 1, 2, 3, 4]
    # A score's standard error is about 0.03 here; at the maximum the gradient vanishes.
    np.testing.assert_allclose(list(scores.values()), made - made.mean(), atol=0.1)
    slope = reference.log_likelihood_gradient(list(scores.values()), rankings).mean(axis=0)
    np.testing.assert_allclose(slope, 0, atol=1e-8)


def test_fit_of_rankings_of_different_lengths_is_choix():
    rng = np.random.default_rng(8)
    made = rng.normal(size=8)
    full = reference.sample_rankings(made, 60, rng)
    rankings = [r[np.sort(rng.permutation(8)[: rng.integers(2, 9)])].tolist() for r in full]
    rankings.append([3])  # says nothing, does no harm
    assert len({len(r) for r in rankings}) > 5
    theirs = choix.opt_rankings(8, [tuple(r) for r in rankings], alpha=0.0, tol=1e-12)
    scores = reference.fit_scores(rankings)
    assert list(scores) == list(range(8))
    np.testing.assert_allclose(list(scores.values()), theirs - theirs.mean(), atol=1e-5)


def test_fit_of_pairs_is_bradley_terry():
    """The likelihood equations: expected wins are the wins counted."""
    rng = np.random.default_rng(9)
    pairs = [tuple(rng.permutation(pair).tolist()) for pair in combinations(range(5), 2)] * 2
    pairs += [(b, a) for a, b in pairs[:7]]
    scores = reference.fit_scores(pairs)
    for item in range(5):
        wins = sum(pair[0] == item for pair in pairs)
        expected = sum(
            1 / (1 + exp(scores[a + b - item] - scores[item])) for a, b in pairs if item in (a, b)
        )
        assert expected == pytest.approx(wins, abs=1e-6)
