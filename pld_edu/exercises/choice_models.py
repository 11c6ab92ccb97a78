"""Exercises for notebook 01: choices, chains of choices, samplers."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logsumexp, softmax

from pld_edu import reference
from pld_edu.reference.validation import Floats

from .calling import NotYet, as_array
from .kinds import AnswerExercise, FunctionExercise, JudgedExercise, Mistake
from .parts import PartsExercise
from .sampler import SAMPLER

CHOICES_BY_HAND = PartsExercise(
    title="01.1 choices by hand",
    level="warm-up",
    minutes=4,
    parts=("from_all_four", "apple_or_plum", "odds"),
    right=(0.4, 2 / 3, 2.0),
    hint="a choice among some of the fruits is their worths divided by the sum of these worths.",
    then="apple keeps its odds of 2 : 1 against plum, whatever else lies in the bowl.",
    mistakes=(
        Mistake(
            "not-renormalised",
            (0.4, 0.4, 2.0),
            "once pear and fig are gone, apple and plum have to share the whole probability.",
            "What must P(apple) + P(plum) be when there is nothing else to choose?",
        ),
        Mistake(
            "shared-out-equally",
            (0.4, 0.6, 2.0),
            "the probability of what is gone does not go to those left in equal parts.",
            "The odds of apple against plum must not change; 0.6 : 0.4 is not 2 : 1.",
        ),
        Mistake(
            "softmax-of-the-worths",
            tuple(softmax([4, 3, 2, 1])[:1]) + tuple(softmax([4, 2])[:1]) + (float(np.exp(2)),),
            "the numbers given are worths already, not scores.",
            "Leave out the exponentials: the worth is e to the score.",
        ),
        Mistake(
            "odds-for-probability",
            (0.4, 2.0, 2.0),
            "the second number is a probability, the third the odds.",
            "Odds of 2 : 1 mean two times out of how many?",
        ),
        Mistake(
            "probability-for-odds",
            (0.4, 2 / 3, 2 / 3),
            "odds are a ratio of two probabilities.",
            "How many times as often is it the apple as the plum?",
        ),
        Mistake(
            "odds-turned-round",
            (0.4, 2 / 3, 0.5),
            "these are the odds of plum against apple.",
            "The first one named goes on top.",
        ),
    ),
)

HUSKY, MALAMUTE = 1.2, 0.4
MERGED_CLASS = AnswerExercise(
    title="01.2 two classes made one",
    level="warm-up",
    minutes=4,
    right=float(logsumexp([HUSKY, MALAMUTE])),
    hint="which quantity of the two classes adds up: the score or the worth?",
    then="worths add up, so the scores are joined by logsumexp. Every tail in this course is one.",
    mistakes=(
        Mistake(
            "scores-added",
            HUSKY + MALAMUTE,
            "adding scores multiplies worths.",
            "Go to worths, add, and come back.",
        ),
        Mistake(
            "mean-score",
            (HUSKY + MALAMUTE) / 2,
            "the joint class would get less than husky had alone.",
            "It must be chosen as often as husky and malamute together.",
        ),
        Mistake(
            "larger-score",
            HUSKY,
            "malamute's share would go to all other classes.",
            "It must be chosen as often as husky and malamute together.",
        ),
        Mistake(
            "worth-for-score",
            float(np.exp(HUSKY) + np.exp(MALAMUTE)),
            "that is the worth of the joint class.",
            "A network returns scores: take the logarithm.",
        ),
    ),
)


def _chain(scores: ArrayLike, ranking: Sequence[int]) -> float:
    return float(np.exp(reference.log_likelihood(scores, ranking)))


def _ranked(scores: ArrayLike, ranking: Sequence[int]) -> Floats:
    return np.asarray(scores, float)[list(ranking)]


def _all_still_there(scores: ArrayLike, ranking: Sequence[int]) -> float:
    z = _ranked(scores, ranking)
    return float(np.exp((z - logsumexp(z)).sum()))


def _from_the_end(scores: ArrayLike, ranking: Sequence[int]) -> float:
    return _chain(scores, ranking[::-1])


def _item_order(scores: ArrayLike, ranking: Sequence[int]) -> float:
    return _chain(scores, range(len(ranking)))


def _places_for_items(scores: ArrayLike, ranking: Sequence[int]) -> float:
    return _chain(scores, np.argsort(ranking).tolist())


def _neighbours(scores: ArrayLike, ranking: Sequence[int]) -> float:
    return float(np.prod([expit(a - b) for a, b in pairwise(_ranked(scores, ranking))]))


def _sum_of_choices(scores: ArrayLike, ranking: Sequence[int]) -> float:
    z = _ranked(scores, ranking)
    return float(sum(softmax(z[k:])[0] for k in range(len(z))))


def _no_exponential(scores: ArrayLike, ranking: Sequence[int]) -> float:
    z = _ranked(scores, ranking)
    return float(np.prod([z[k] / z[k:].sum() for k in range(len(z))]))


CHAIN = FunctionExercise(
    title="01.3 chain of choices",
    level="core",
    minutes=10,
    right=_chain,
    agrees_with="reference.log_likelihood",
    cases=(
        ([2.0, 1.0], [1, 0]),
        ([1.0, 0.5, 0.2], [1, 2, 0]),
        ([1.0, 0.5, 0.2], [0, 1, 2]),
        ([0.3, -1.2, 2.0, 0.7], [2, 0, 3, 1]),
        ([0.3, -1.2, 2.0, 0.7, 1.1], [3, 1, 4, 0, 2]),
        ([1000.0, 1001.0, 999.0], [1, 2, 0]),
    ),
    then="The last factor is always 1: one item among one.",
    mistakes=(
        Mistake(
            "all-still-there",
            _all_still_there,
            "every choice is made among all items, also those already chosen.",
            "Choice k has only ranks k and later to choose from.",
        ),
        Mistake(
            "read-from-the-end",
            _from_the_end,
            "the item at the last place is chosen first.",
            "The favourite stands first in a ranking and is chosen from all.",
        ),
        Mistake(
            "ranking-ignored",
            _item_order,
            "the items are taken in the order of their numbers.",
            "The item chosen at place k is ranking[k].",
        ),
        Mistake(
            "places-for-items",
            _places_for_items,
            "the ranking is read as the place of each item; it lists the item at each place.",
            "ranking[0] is the number of the favourite.",
        ),
        Mistake(
            "neighbours-only",
            _neighbours,
            "each item is compared with the next one only.",
            "To be chosen, an item must beat everybody who is left.",
        ),
        Mistake(
            "logarithm",
            lambda scores, ranking: reference.log_likelihood(scores, ranking),
            "this is the log-probability.",
            "Take the exponential at the end.",
        ),
        Mistake(
            "sum-of-choices",
            _sum_of_choices,
            "the probabilities of the choices are added.",
            "All choices have to happen: multiply.",
        ),
        Mistake(
            "scores-for-worths",
            _no_exponential,
            "the scores themselves are divided; a score may even be negative.",
            "The worth of an item is e to its score.",
        ),
    ),
)


def _by_brute_force(scores: ArrayLike, items: Sequence[int]) -> tuple[float, float]:
    """Sum over all full rankings that agree with what was seen."""
    k, table = len(items), reference.ranking_probabilities(scores)
    top = sum(p for r, p in table.items() if r[:k] == tuple(items))
    subset = sum(p for r, p in table.items() if [i for i in r if i in items] == list(items))
    return top, subset


def _top(scores: ArrayLike, items: Sequence[int]) -> float:
    return float(np.exp(reference.log_likelihood(scores, items)))


def _subset(scores: ArrayLike, items: Sequence[int]) -> float:
    return _chain(_ranked(scores, items), range(len(items)))


def _any_order(scores: ArrayLike, items: Sequence[int]) -> float:
    k, table = len(items), reference.ranking_probabilities(scores)
    return sum(p for r, p in table.items() if set(r[:k]) == set(items))


def _without_the_last(scores: ArrayLike, items: Sequence[int]) -> float:
    return _top(scores, items[:-1])


TOP_OR_SUBSET = FunctionExercise(
    title="01.4 top of the list, or part of it",
    level="core",
    minutes=10,
    right=_by_brute_force,
    agrees_with="sums over all full rankings",
    cases=(
        ([0.5, 0.0, -1.0], [2, 0]),
        ([2.0, 1.5, 1.0, 0.0], [1, 0]),
        ([2.0, 1.5, 1.0, 0.0, -1.5], [1, 0, 3]),
        ([2.0, 1.5, 1.0, 0.0, -1.5], [4, 2]),
        ([0.3, -1.2, 2.0, 0.7, 1.1, 0.0], [5, 1, 3, 0]),
    ),
    then="Top-k stops the product early; a subset forgets the others.",
    mistakes=(
        Mistake(
            "swapped",
            lambda scores, items: _by_brute_force(scores, items)[::-1],
            "the two probabilities are in the wrong order.",
            "First the top of the list, then the subset.",
        ),
        Mistake(
            "subset-twice",
            lambda scores, items: (_subset(scores, items), _subset(scores, items)),
            "both are the probability of the subset; for the top, the others count as losers.",
            "At the top of the list, the first choice is made from all items.",
        ),
        Mistake(
            "top-twice",
            lambda scores, items: (_top(scores, items), _top(scores, items)),
            "both are the probability of the top; in a subset nobody knows where others stood.",
            "By Luce's axiom the others do not matter for the subset.",
        ),
        Mistake(
            "any-order",
            lambda scores, items: (_any_order(scores, items), _subset(scores, items)),
            "the first is the probability that these items come first in any order.",
            "Their order was seen, too.",
        ),
        Mistake(
            "last-choice-free",
            lambda scores, items: (_without_the_last(scores, items), _subset(scores, items)),
            "the product for the top stops one choice too early.",
            "The last item of the list still had to beat those that are not listed.",
        ),
    ),
)


def _judge_second_place(answer: Any) -> str | None:
    """Whether the second-highest score is not the likeliest at place two."""
    scores = as_array(answer)
    if scores is None or scores.ndim != 1 or not 3 <= scores.size <= 8:
        raise NotYet("  Hand in a list of 3 to 8 scores.")
    if not np.isfinite(scores).all():
        return "The scores must be finite."
    if np.unique(scores).size < scores.size:
        return "tied-scores"
    second = np.zeros(scores.size)
    for ranking, p in reference.ranking_probabilities(scores).items():
        second[ranking[1]] += p
    order = np.argsort(-scores)
    if second.argmax() == order[1]:
        return "gaps-too-wide" if second[order[1]] > 0.5 else "claim-holds-here"
    return None


SECOND_PLACE = JudgedExercise(
    title="01.6 who comes second?",
    level="challenge",
    minutes=10,
    verdict=_judge_second_place,
    then="where nobody stands out, the favourite is the likeliest at place one and at place two.",
    mistakes=(
        Mistake(
            "tied-scores",
            [0.5, 0.0, 0.0, 0.0],
            "two scores are equal, so nobody has the second-highest score.",
            "Pull the equal ones a little apart.",
        ),
        Mistake(
            "gaps-too-wide",
            [4.0, 2.0, 0.0],
            "the favourite nearly always wins, and the next one is then second: the claim holds.",
            "When does the favourite often *not* win?",
        ),
        Mistake(
            "claim-holds-here",
            [1.0, 0.8, 0.0],
            "the second-highest score is the likeliest at place two here.",
            "Try more items, and only one of them a little ahead of the rest.",
        ),
    ),
)

EXERCISES = (CHOICES_BY_HAND, MERGED_CLASS, CHAIN, TOP_OR_SUBSET, SAMPLER, SECOND_PLACE)
