"""Exercises for notebook 02: read a gradient, write it, and why the logarithm."""

from typing import Any

import numpy as np
from scipy.special import softmax

from pld_edu import reference
from pld_edu.check.engine import as_array

from .calling import NotYet
from .kinds import Code, Values, wrong

READ_THE_BARS = Values(
    heading="02.1 read the bars · warm-up · 5 minutes",
    right={"ranking": [2, 3, 1, 0], "winner_of_ten": 0.9},
    hint="At equal scores each choice expects every item that is left equally often.",
    praise="Early choices rise and late ones fall, the last one furthest: it was always expected.",
    mistakes=(
        wrong("last-first", ranking=[0, 1, 3, 2])(
            "This is the order from the last to the first.", "Who should rise if it was chosen?"
        ),
        wrong("places-for-items", ranking=[3, 2, 0, 1])(
            "Entry i is the place of item i, not the item at place i.", "Begin with the favourite."
        ),
        wrong("expected-only", winner_of_ten=0.1)(
            "This is how often it was expected.", "Chosen minus expected: it was chosen once."
        ),
        wrong("still-four-items", winner_of_ten=0.75)(
            "This is the bar of the picture.", "The first choice is now one among ten."
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
        ([0.0, 1000.0, 999.0], [1, 2, 0]),
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
    heading="02.3 why the logarithm? · core · 8 minutes",
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


EXERCISES = (READ_THE_BARS, GRADIENT, NOT_CONCAVE)


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
