"""Exercises for notebook 01: choices, chains of choices, samplers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import logsumexp, softmax

from pld_edu import reference
from pld_edu.check.engine import Mistake, as_array, find_mistake

from .calling import Floats, NotYet, call
from .kinds import Code, Values, wrong

MERGED_CLASS = Values(
    heading="01.1 two classes made one · warm-up · 4 minutes",
    right={"sled_dog": logsumexp([1.2, 0.4])},
    hint="Which quantity of the two classes adds up: the score or the worth?",
    praise="Worths add up, so scores are joined by logsumexp. Every tail in this course is one.",
    mistakes=(
        wrong("scores-added", 1.2 + 0.4)(
            "Adding scores multiplies worths.", "Go to worths, add, and come back."
        ),
        wrong("mean-or-maximum", (1.2 + 0.4) / 2, 1.2)(
            "The two together must be chosen more often than husky alone."
        ),
        wrong("worth-for-score", np.exp(1.2) + np.exp(0.4))(
            "This is the worth of the joint class.", "Scores are the logarithms of worths."
        ),
    ),
)


def _chain(scores: ArrayLike, ranking: ArrayLike) -> float:
    return float(np.exp(reference.log_likelihood(scores, ranking)))


def _one_shift(scores: ArrayLike, ranking: Sequence[int]) -> float:
    worths = np.exp(np.asarray(scores) - np.max(scores))[list(ranking)]
    return float(np.prod([worths[k] / worths[k:].sum() for k in range(len(worths))]))


CHAIN = Code(
    heading="01.2 chain of choices · core · 10 minutes",
    right=_chain,
    cases=(
        ([2.0, 1.0], [1, 0]),
        ([1.0, 0.5, 0.2], [1, 2, 0]),
        ([1.0, 0.5, 0.2], [0, 1, 2]),
        ([0.3, -1.2, 2.0, 0.7], [2, 0, 3, 1]),
        ([0.3, -1.2, 2.0, 0.7, 1.1], [3, 1, 4, 0, 2]),
        ([1000.0, 1001.0, 999.0], [1, 2, 0]),
        ([0.0, 1000.0, 999.0], [1, 2, 0]),
    ),
    praise="The last factor is always 1: one item among one.",
    mistakes=(
        wrong("all-still-there", lambda s, ranking: np.prod(softmax(s)))(
            "Every choice is made among all items.", "Choice k has only ranks k, k + 1, ... left."
        ),
        wrong("read-from-the-end", lambda s, ranking: _chain(s, ranking[::-1]))(
            "The last item is chosen first.", "The favourite stands at ranking[0]."
        ),
        wrong("places-for-items", lambda s, ranking: _chain(s, np.argsort(ranking)))(
            "This reads ranking[i] as the place of item i.", "ranking[0] is the favourite."
        ),
        wrong("one-shift-for-all", _one_shift)(
            "After one shift by the largest score, a far smaller one has the worth 0.",
            "Shift the scores of each choice by the largest one that is left there.",
        ),
        wrong("logarithm", reference.log_likelihood)(
            "This is the log-probability.", "Take the exponential at the end."
        ),
    ),
)


SCORES, DRAWS = np.array([1.5, 0.5, 0.0, -1.0]), 20_000


def _counts(sample: Any) -> Floats:
    """How often each of the 24 rankings was drawn, in lexicographic order."""
    code = sample @ 4 ** np.arange(4)
    codes = [np.array(r) @ 4 ** np.arange(4) for r in reference.ranking_probabilities(SCORES)]
    return np.array([(code == c).sum() for c in codes])


def _test_sampler(sampler: Any) -> str | None:
    """Chi-square tests on all 24 rankings, with Plackett-Luce and with each wrong sampler."""
    sample = as_array(call(sampler, SCORES, DRAWS, np.random.default_rng(7)))
    if sample is None or sample.shape != (DRAWS, 4):
        came = "no array" if sample is None else f"shape {sample.shape}"
        return f"Wanted an array of shape (n, items), here ({DRAWS}, 4); got {came}."
    if (np.sort(sample, axis=1) != np.arange(4)).any():
        return "Each row must hold each of the items 0, 1, 2, 3 once."
    counts, table = _counts(sample), reference.ranking_probabilities(SCORES)
    expected = DRAWS * np.array(list(table.values()))
    if stats.chisquare(counts, expected).pvalue > 1e-4:
        return None
    if (counts == DRAWS).any():
        return "one-noise-for-all"

    def draws_alike(mistake: Mistake) -> bool:
        theirs = _counts(mistake.variants[0](SCORES, 10 * DRAWS, np.random.default_rng(9)))
        seen = theirs + counts > 0
        return bool(stats.chi2_contingency([counts[seen], theirs[seen]]).pvalue > 1e-4)

    found = find_mistake(SAMPLER.mistakes, draws_alike)
    if found is not None:
        return found.name
    worst = np.argmax(np.abs(counts - expected))
    came = f"{list(table)[worst]} came {counts[worst]} times, not {expected[worst]:.0f} times"
    return f"These are not Plackett-Luce rankings: with scores {SCORES.tolist()}, {came}."


SAMPLER = Code(
    heading="01.3 a pair of brackets · core · 12 minutes",
    test=_test_sampler,
    praise=f"A chi-square test on {DRAWS} rankings finds no difference.",
    mistakes=(
        wrong("lost-brackets", lambda s, n, rng: np.argsort(-s + rng.gumbel(size=(n, len(s)))))(
            "The noise is subtracted, which picks losers first; pairs keep their odds.",
            "The minus sign must hold for score and noise together.",
        ),
        wrong("smallest-first", lambda s, n, rng: np.argsort(s + rng.gumbel(size=(n, len(s)))))(
            "argsort puts the smallest utility first.", "The favourite has the largest utility."
        ),
        wrong("places-for-items", lambda *a: np.argsort(reference.sample_rankings(*a)))(
            "Entry i is the place of item i, not the item at place i.", "One argsort is enough."
        ),
        wrong("one-noise-for-all", lambda s, n, rng: np.tile(np.argsort(-s), (n, 1)))(
            "All n rankings are the same.", "Noise must have the shape (n, items)."
        ),
    ),
)


def _test_second_place(answer: Any) -> str | None:
    """Whether the second-highest score is not the likeliest at place two."""
    scores = as_array(answer)
    if scores is None or scores.ndim != 1 or not 3 <= np.isfinite(scores).sum() == scores.size <= 8:
        raise NotYet("  Hand in a list of 3 to 8 finite scores.")
    if np.unique(scores).size < scores.size:
        return "Two scores are equal, so nobody has the second-highest: pull them a little apart."
    second = np.zeros(scores.size)
    for ranking, p in reference.ranking_probabilities(scores).items():
        second[ranking[1]] += p
    runner_up = np.argsort(-scores)[1]
    return "claim-holds-here" if second.argmax() == runner_up else None


SECOND_PLACE = Code(
    heading="01.4 who comes second? · challenge · 10 minutes",
    test=_test_second_place,
    praise="Where nobody stands out, the favourite is the likeliest at place one and at place two.",
    mistakes=(
        wrong("claim-holds-here", [1.0, 0.8, 0.0], [4.0, 2.0, 0.0])(
            "The second-highest score is the likeliest at place two here.",
            "Try more items, and only one of them a little ahead of the rest.",
        ),
    ),
)

EXERCISES = (MERGED_CLASS, CHAIN, SAMPLER, SECOND_PLACE)

FOX = Values(
    heading="01.a fox or cat",
    right={"fox": 2 / 5},
    hint="The probability is fox's worth divided by the sum of the worths still there.",
    praise="Cat and fox keep their odds of 3 : 2, whatever else is on offer.",
    mistakes=(
        wrong("not-renormalised", 2 / 12)(
            "This is fox among all four.", "Dog and car are gone: which worths are left?"
        ),
        wrong("cat", 3 / 5)("This is cat."),
        wrong("softmax-of-the-worths", softmax([2, 3])[0])(
            "These numbers are worths, not scores.", "A worth is e to the score already."
        ),
    ),
)


def _chain_of_worths(worths: ArrayLike, ranking: ArrayLike) -> float:
    return _chain(np.log(worths), ranking)


CHAIN_OF_WORTHS = Code(
    heading="01.b chain of choices",
    right=_chain_of_worths,
    cases=(
        ([1, 3, 6, 2], [2, 3, 1, 0]),
        ([1, 3, 6, 2], [0, 1, 2, 3]),
        ([2, 1], [1, 0]),
        ([5, 1, 1, 4, 2], [1, 4, 0, 2, 3]),
    ),
    praise="Each factor is a softmax among those that are left.",
    mistakes=(
        wrong("all-still-there", lambda w, ranking: np.prod(np.divide(w, np.sum(w))))(
            "Every choice is made among all classes.", "Sum over those in `left` only."
        ),
        wrong("class-order", lambda w, ranking: _chain_of_worths(w, range(len(w))))(
            "The ranking makes no difference: the classes are chosen in their own order.",
            "The class that is chosen is left[0].",
        ),
        wrong("no-division", lambda w, ranking: float(np.prod(w)))(
            "These are worths, not probabilities.", "Divide by the worths that are left."
        ),
    ),
)

TOP_OR_PART = Values(
    heading="01.c top or part",
    right={"first_two": 2 / 12 * 6 / 10, "before": 2 / 8},
    hint="At the top all classes are on offer; for a pair only two clocks count.",
    praise="The top of a ranking and the order of a pair are two different questions.",
    mistakes=(
        wrong("nobody-taken-away", first_two=2 / 12 * 6 / 12)(
            "Dog is chosen from all four, as if fox were still there.",
            "Fox is gone when the second choice is made.",
        ),
        wrong("pair-for-top", first_two=2 / 8)(
            "This is fox before dog, wherever they stand.", "Are car and cat on offer?"
        ),
        wrong("turned-round", before=6 / 8)("This is dog before fox."),
        wrong("top-for-pair", before=2 / 12)(
            "This is the probability that fox is first of all.", "Do not look at car and cat."
        ),
    ),
)

FILL_INS = (FOX, CHAIN_OF_WORTHS, TOP_OR_PART)
