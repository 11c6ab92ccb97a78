"""Exercises for notebook 02: gradient, standard errors, concavity, and when a fit exists."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from pld_edu import reference
from pld_edu.reference.validation import Floats

from .calling import NotYet, as_array
from .finite_fit import EXISTENCE
from .kinds import AnswerExercise, FunctionExercise, JudgedExercise, Mistake

CHOSEN_MINUS_EXPECTED = AnswerExercise(
    title="02.1 chosen minus expected",
    level="warm-up",
    minutes=6,
    right=(1 / 4, -3 / 4, 1 / 2),
    hint="write one line a choice: who is still there, and with which probability is each chosen?",
    then="the three add up to 0, as they must: what one item gains the others lose.",
    mistakes=(
        Mistake(
            "expected-minus-chosen",
            (-1 / 4, 3 / 4, -1 / 2),
            "the signs are those of the loss; the likelihood is to go up.",
            "Who was chosen earlier than expected? That score has to rise.",
        ),
        Mistake(
            "first-choice-only",
            (-1 / 4, -1 / 4, 1 / 2),
            "only the choice of c is counted.",
            "Two more choices follow: a against b, and b alone.",
        ),
        Mistake(
            "last-choice-forgotten",
            (1 / 4, 1 / 4, 1 / 2),
            "b is chosen once, for free; but then it was also expected once at that choice.",
            "When only b is left, with which probability is it chosen?",
        ),
        Mistake(
            "all-still-there",
            (1 / 4, 1 / 4, -1 / 2),
            "c is still expected after it has been chosen.",
            "Take c out before the second choice.",
        ),
        Mistake(
            "expected-only",
            (3 / 4, 7 / 4, 1 / 2),
            "this is how often each item was expected.",
            "Each item was chosen once; subtract.",
        ),
    ),
)


def _gradient(scores: ArrayLike, ranking: ArrayLike) -> Floats:
    return reference.log_likelihood_gradient(scores, ranking)


def _sigmas(scores: ArrayLike, ranking: Sequence[int]) -> Floats:
    """Row k: probability of each rank at choice k."""
    z = np.asarray(scores, float)[list(ranking)]
    return np.array([np.r_[np.zeros(k), softmax(z[k:])] for k in range(len(z))])


def _to_items(ranked: Floats, ranking: Sequence[int]) -> Floats:
    out = np.empty(len(ranked))
    out[list(ranking)] = ranked
    return out


def _rank_order(scores: ArrayLike, ranking: Sequence[int]) -> Floats:
    return 1 - _sigmas(scores, ranking).sum(axis=0)


def _wrong_way_back(scores: ArrayLike, ranking: Sequence[int]) -> Floats:
    return _rank_order(scores, ranking)[list(ranking)]


def _first_choice(scores: ArrayLike, ranking: Sequence[int]) -> Floats:
    return _to_items(np.eye(len(ranking))[0] - _sigmas(scores, ranking)[0], ranking)


def _own_choice(scores: ArrayLike, ranking: Sequence[int]) -> Floats:
    return _to_items(1 - np.diag(_sigmas(scores, ranking)), ranking)


def _nobody_leaves(scores: ArrayLike, ranking: Sequence[int]) -> Floats:
    return 1 - len(ranking) * softmax(np.asarray(scores, float))


def _of_probability(scores: ArrayLike, ranking: Sequence[int]) -> Floats:
    return np.exp(reference.log_likelihood(scores, ranking)) * _gradient(scores, ranking)


GRADIENT = FunctionExercise(
    title="02.2 the gradient",
    level="core",
    minutes=12,
    right=_gradient,
    agrees_with="reference.log_likelihood_gradient",
    cases=(
        ([0.0, 1.0], [1, 0]),
        ([1.0, 0.5, 0.2], [1, 2, 0]),
        ([1.0, 0.5, 0.0, -0.5], [2, 0, 3, 1]),
        ([0.3, -1.2, 2.0, 0.7, 1.1], [3, 1, 4, 0, 2]),
        ([800.0, 801.0, 802.5], [1, 2, 0]),
    ),
    then="A tail's softmax is the derivative of its logsumexp: that is all there is to it.",
    mistakes=(
        Mistake(
            "sign",
            lambda scores, ranking: -_gradient(scores, ranking),
            "this is expected minus chosen, the gradient of the loss.",
            "The log-likelihood should go up along its gradient.",
        ),
        Mistake(
            "rank-order",
            _rank_order,
            "entry k belongs to the item at rank k; wanted is entry i for item i.",
            "Put the numbers back: gradient[ranking] = ...",
        ),
        Mistake(
            "wrong-way-back",
            _wrong_way_back,
            "on the way from ranks back to items the ranking is applied once more, not undone.",
            "Assign to gradient[ranking] instead of reading with [ranking].",
        ),
        Mistake(
            "first-choice-only",
            _first_choice,
            "only the first choice is counted.",
            "There is one softmax a rank; sum over all of them.",
        ),
        Mistake(
            "own-choice-only",
            _own_choice,
            "an item is compared only with the choice at which it was taken.",
            "It was expected, and not chosen, at every earlier choice too.",
        ),
        Mistake(
            "nobody-leaves",
            _nobody_leaves,
            "every choice expects all items, also those that are already placed.",
            "The softmax of choice k runs over ranks k and later.",
        ),
        Mistake(
            "of-the-probability",
            _of_probability,
            "this is the gradient of the probability, not of its logarithm.",
            "Divide by the probability, or start from the log-likelihood.",
        ),
    ),
)

BEST_STEP = AnswerExercise(
    title="02.3 how small a step?",
    level="warm-up",
    minutes=4,
    right="1e-5",
    options=("1e-1", "1e-3", "1e-5", "1e-8", "1e-12"),
    hint="two errors compete: the curve's bend, and rounding.",
    then="the bend costs about h^2, rounding about 1e-16 / h; they meet near the third root of "
    "1e-16. Look at the picture below.",
    mistakes=(
        Mistake(
            "too-coarse",
            "1e-1",
            "the curve bends between the two points; the error is about h^2.",
            "Make h smaller. How much of the 16 digits may the subtraction cost?",
        ),
        Mistake(
            "still-coarse",
            "1e-3",
            "an error of about h^2 = 1e-6 is left.",
            "Rounding has not begun to hurt yet.",
        ),
        Mistake(
            "one-sided",
            "1e-8",
            "that is the best step of the one-sided quotient, whose error falls like h, not h^2.",
            "With two sides, where is h^2 as small as 1e-16 / h?",
        ),
        Mistake(
            "the-smaller-the-better",
            "1e-12",
            "the two values agree in nearly all their digits, and their difference is noise.",
            "The subtraction leaves an error of about 1e-16, and you divide it by h.",
        ),
    ),
)

HOW_MANY_DUELS = AnswerExercise(
    title="02.4 how many duels?",
    level="core",
    minutes=8,
    right=400.0,
    hint="what is minus the second derivative of log p along the difference d = s_a - s_b, when "
    "p = 1/2?",
    rtol=2e-2,
    then="a duel between equals carries 1/4 of information, so the error is 2 / sqrt(n).",
    mistakes=(
        Mistake(
            "one-a-duel",
            100.0,
            "a duel is taken to carry 1 unit of information.",
            "It carries the variance of one choice, p (1 - p).",
        ),
        Mistake(
            "error-of-a-share",
            25.0,
            "25 duels give the *share of wins* to 0.1; a score difference of 1 moves that by 1/4.",
            "p (1 - p) is the information of a duel; the variance of the score is its inverse.",
        ),
        Mistake(
            "square-forgotten",
            40.0,
            "the error falls like one over the square root of n.",
            "The variance has to be 0.1 squared.",
        ),
        Mistake(
            "two-scores",
            800.0,
            "both scores are counted as unknown; only their difference is.",
            "Put the score of b at 0 and fit the other.",
        ),
    ),
)


def _likelihoods(answer: Any) -> tuple[Floats, Floats]:
    """The two score vectors of the answer, checked."""
    points = as_array(answer)
    if points is None or points.ndim != 2 or points.shape[0] != 2 or not 2 <= points.shape[1] <= 8:
        raise NotYet("  Hand in two score vectors of the same length, 2 to 8.")
    if not np.isfinite(points).all():
        raise NotYet("  The scores must be finite.")
    return points[0], points[1]


def _judge_concave(answer: Any) -> str | None:
    """Whether the likelihood of 0 > 1 > ... lies below its chord in the middle."""
    x, y = _likelihoods(answer)
    order = np.arange(x.size)
    at_x, at_y, middle = (np.exp(reference.log_likelihood(s, order)) for s in (x, y, (x + y) / 2))
    if np.ptp(x - y) < 1e-9:
        return "only-shifted"
    gap = (at_x + at_y) / 2 - middle
    if gap > 1e-9:
        return None
    return "too-close" if abs(gap) <= 1e-9 else "near-the-top"


NOT_CONCAVE = JudgedExercise(
    title="02.5 why the logarithm?",
    level="core",
    minutes=8,
    verdict=_judge_concave,
    then="the probability flattens out at 0 far from the top. Its logarithm keeps falling.",
    mistakes=(
        Mistake(
            "only-shifted",
            ([0.0, 1.0, 2.0], [5.0, 6.0, 7.0]),
            "the two vectors differ by a constant, and the likelihood does not see that.",
            "Change a score difference.",
        ),
        Mistake(
            "too-close",
            ([0.0, 1.0, 2.0], [0.0, 1.0, 2.00001]),
            "the two are so close that the curve is straight between them, up to rounding.",
            "Move them apart.",
        ),
        Mistake(
            "near-the-top",
            ([0.0, 0.0], [2.0, 0.0]),
            "between these two the likelihood does lie above its chord.",
            "Where is a curve that ends flat at 0 bent upwards? Make the ranking unlikely.",
        ),
    ),
)


EXERCISES = (
    CHOSEN_MINUS_EXPECTED,
    GRADIENT,
    BEST_STEP,
    HOW_MANY_DUELS,
    NOT_CONCAVE,
    EXISTENCE,
)
