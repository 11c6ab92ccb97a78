"""Exercises for notebook 02: gradient, standard errors, concavity, and when a fit exists."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import softmax

from pld_edu import reference
from pld_edu.check.engine import as_array

from .calling import NotYet
from .kinds import Code, Values, wrong

CHOSEN_MINUS_EXPECTED = Values(
    heading="02.1 chosen minus expected · warm-up · 6 minutes",
    right={"gradient_a": 1 / 4, "gradient_b": -3 / 4, "gradient_c": 1 / 2},
    hint="Write one line per choice: who is still there, and how probable is each?",
    praise="The three add up to 0, as they must: what one item gains the others lose.",
    mistakes=(
        wrong("expected-minus-chosen", gradient_a=-1 / 4, gradient_b=3 / 4, gradient_c=-1 / 2)(
            "The signs are those of the loss.", "Items chosen early have to rise."
        ),
        wrong("first-choice-only", gradient_a=-1 / 4, gradient_b=-1 / 4)(
            "Only the choice of c is counted.", "Two more follow: a against b, and b alone."
        ),
        wrong("last-choice-forgotten", gradient_b=1 / 4)(
            "b is also expected once when it is alone.", "How probable is it then?"
        ),
        wrong("all-still-there", gradient_b=1 / 4, gradient_c=-1 / 2)(
            "c is still expected after it has been chosen.", "Take c out before the second choice."
        ),
    ),
)


_gradient = reference.log_likelihood_gradient

GRADIENT = Code(
    heading="02.2 the gradient · core · 12 minutes",
    right=_gradient,
    cases=(
        ([0.0, 1.0], [1, 0]),
        ([1.0, 0.5, 0.0, -0.5], [2, 0, 3, 1]),
        ([0.3, -1.2, 2.0, 0.7, 1.1], [3, 1, 4, 0, 2]),
        ([800.0, 801.0, 802.5], [1, 2, 0]),
    ),
    praise="The softmax of a tail is the derivative of its logsumexp; nothing else is needed.",
    mistakes=(
        wrong("sign", lambda s, ranking: -_gradient(s, ranking))(
            "This is expected minus chosen.", "The log-likelihood rises along its gradient."
        ),
        wrong("rank-order", lambda s, ranking: _gradient(s, ranking)[ranking])(
            "Entry k belongs to rank k, not to item k.", "Put it back: gradient[ranking] = ..."
        ),
        wrong("wrong-way-back", lambda s, ranking: _gradient(s, ranking)[ranking][ranking])(
            "The ranking is applied twice, not undone.", "Assign to gradient[ranking]."
        ),
        wrong("nobody-leaves", lambda s, ranking: 1 - len(s) * softmax(s))(
            "Every choice expects all items.", "Choice k expects ranks k and later only."
        ),
    ),
)

BEST_STEP = Values(
    heading="02.3 how small a step? · warm-up · 4 minutes",
    right={"best_step": "1e-5"},
    options=("1e-1", "1e-3", "1e-5", "1e-8", "1e-12"),
    hint="Two errors compete: the curve's bend, and rounding.",
    praise="The bend costs about h^2 and rounding about 1e-16 / h; they are equal near the third "
    "root of 1e-16. Look at the picture below.",
    mistakes=(
        wrong("too-coarse", "1e-1", "1e-3")(
            "The curve bends between the two points.", "Make h smaller."
        ),
        wrong("one-sided", "1e-8")(
            "That is best for one-sided quotients.", "With two sides the error is about h^2."
        ),
        wrong("the-smaller-the-better", "1e-12")(
            "The two values agree in nearly all their digits, and their difference is noise.",
            "The subtraction leaves an error of about 1e-16, and you divide it by h.",
        ),
    ),
)

HOW_MANY_DUELS = Values(
    heading="02.4 how many duels? · core · 8 minutes",
    right={"duels": 400.0},
    rtol=0.02,
    hint="What is minus the second derivative of log p along d = s_a - s_b, when p = 1/2?",
    praise="A duel between equals carries 1/4 of information, so the error is 2 / sqrt(n).",
    mistakes=(
        wrong("information-one", 100.0)(
            "One duel carries less information than 1.", "Its variance is p (1 - p)."
        ),
        wrong("error-of-a-share", 25.0)(
            "25 duels give the *share of wins* to 0.1; a score difference of 1 moves that by 1/4.",
            "p (1 - p) is the information of a duel; the variance of the score is its inverse.",
        ),
        wrong("square-forgotten", 40.0)(
            "The error falls like one over the square root of n.", "The variance must be 0.01."
        ),
    ),
)


def _test_not_concave(answer: Any) -> str | None:
    """Whether the likelihood of 0 > 1 > ... lies below its chord in the middle."""
    points = as_array(answer)
    shapes = [(2, items) for items in range(2, 9)]
    if points is None or points.shape not in shapes or not np.isfinite(points).all():
        raise NotYet("  Hand in two vectors of 2 to 8 finite scores, of the same length.")
    x, y = points
    at_x, at_y, middle = (
        np.exp(reference.log_likelihood(s, np.arange(x.size))) for s in (x, y, (x + y) / 2)
    )
    if np.ptp(x - y) < 1e-9:
        return "only-shifted"
    return None if (at_x + at_y) / 2 - middle > 1e-9 else "near-the-top"


NOT_CONCAVE = Code(
    heading="02.5 why the logarithm? · core · 8 minutes",
    test=_test_not_concave,
    praise="The probability flattens out at 0 far from the top. Its logarithm keeps falling.",
    mistakes=(
        wrong("only-shifted", ([0.0, 1.0, 2.0], [5.0, 6.0, 7.0]))(
            "The two differ by a constant, which changes no probability.", "Change a difference."
        ),
        wrong("near-the-top", ([0.0, 0.0], [2.0, 0.0]), ([-3.0, 0.0], [3.0, 0.0]))(
            "At the midpoint of these two the likelihood is not below the mean of the two ends.",
            "A curve that flattens out at 0 bends upwards there. Make the ranking unlikely.",
        ),
    ),
)


def _has_fit(rankings: Sequence[Sequence[str]]) -> bool:
    try:
        reference.fit_scores(rankings)
    except ValueError:
        return False
    return True


def _nobody_always_last(rankings: Sequence[Sequence[str]]) -> bool:
    items = {item for ranking in rankings for item in ranking}
    return not any(all(r[-1] == item for r in rankings if item in r) for item in items)


def _first_reaches_all(rankings: Sequence[Sequence[str]]) -> bool:
    """Whether chains of wins lead from the first item to all others."""
    links: dict[str, set[str]] = {item: {item} for ranking in rankings for item in ranking}
    for _ in links:
        for better, worse in (pair for ranking in rankings for pair in pairwise(ranking)):
            links[better] |= links[worse]
    return next(iter(links.values())) == set(links)


SEASONS = (
    "ab ab, ab ba, ab bc ca, abc abc bac, ab ca, ab ba bc, abc bca, ab ba cd dc, "
    "ab ba cd dc ac bd, ab ba cd dc ac db, ab bc cd da, ab bc cd db, ba cb dc bd"
)
EXISTENCE = Code(
    heading="02.6 is there a fit? · challenge · 16 minutes",
    right=_has_fit,
    cases=tuple(([list(word) for word in season.split()],) for season in SEASONS.split(", ")),
    praise="This is Ford's condition of 1957: chains of wins must lead from everyone to everyone.",
    mistakes=(
        wrong("nobody-always-last", _nobody_always_last)(
            "Only somebody without any win is found.", "What if somebody is unbeaten?"
        ),
        wrong("direction-ignored", lambda r: _first_reaches_all([*r, *(x[::-1] for x in r)]))(
            "Here it does not matter who won.", "There must be a chain of wins each way."
        ),
        wrong("one-way-only", _first_reaches_all)(
            "Chains lead from the first item to all.", "Do chains also lead back?"
        ),
    ),
)

EXERCISES = (CHOSEN_MINUS_EXPECTED, GRADIENT, BEST_STEP, HOW_MANY_DUELS, NOT_CONCAVE, EXISTENCE)


CATS_COLUMN = Values(
    heading="02.a the cat's column",
    right={"cat": -1 / 2},
    hint="Cat is expected at choices 1, 2 and 3, and chosen at the third: worths 6, 2, 3, 1.",
    praise="0 - 3/12, 0 - 3/6 and 1 - 3/4: the network waited for cat in vain, so it goes down.",
    mistakes=(
        wrong("expected-minus-chosen", 1 / 2)("This is the sign of the loss.", "Chosen first."),
        wrong("chosen-forgotten", -3 / 2, 3 / 2)(
            "This is how often cat was expected.", "It was also chosen, once."
        ),
        wrong("last-choice-only", 1 / 4)(
            "Only choice 3 is counted.", "Cat was also there at choices 1 and 2."
        ),
        wrong("all-still-there", 1 / 4 - 1)("Dog and fox are gone.", "Divide by what is left."),
    ),
)

GRADIENT_OF_A_TABLE = Code(
    heading="02.b the gradient",
    right=lambda z: _gradient(z, np.arange(len(z))),
    cases=((np.array([0.0, 1.0]),), (np.array([1.8, 0.7, 1.1, 0.0]),), (np.array([2.0, -1, 0.5]),)),
    praise="One minus the sums of the columns.",
    mistakes=(
        wrong("expected-minus-chosen", lambda z: -_gradient(z, np.arange(len(z))))(
            "This is expected minus chosen.", "The log-likelihood rises along its gradient."
        ),
        wrong("row-sums", lambda z: np.zeros(len(z)))(
            "Each row sums to 1, so this is 0.", "A class is a column: axis=0."
        ),
        wrong("chosen-forgotten", lambda z: 1 - _gradient(z, np.arange(len(z))))(
            "This is how often each class was expected.", "Each was also chosen, once."
        ),
    ),
)

CURVATURE = Values(
    heading="02.c the curvature along a step",
    right={"curvature": 4 / 9},
    hint="At choice 2 fox has +1/2 with probability 2/6. At choice 3 both have -1/2.",
    praise="2/9 + 2/9 + 0 + 0. So the parabola is highest at a = 9/4.",
    mistakes=(
        wrong("first-choice-only", 2 / 9)("Choice 2 bends, too.", "Fox is one of three there."),
        wrong("mean-of-squares", 1.0, 3 / 4)(
            "These are means of squares.", "A variance also subtracts the square of the mean."
        ),
        wrong("every-choice-the-same", 2 / 3, 8 / 9)(
            "Choices 3 and 4 do not bend.", "Do cat and car differ in g?"
        ),
    ),
)

FILL_INS = (CATS_COLUMN, GRADIENT_OF_A_TABLE, CURVATURE)
