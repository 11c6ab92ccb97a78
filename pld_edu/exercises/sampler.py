"""Exercise 01.5: a sampler of rankings, recognised by what it draws."""

from typing import Any

import numpy as np
from scipy import stats

from pld_edu import reference
from pld_edu.reference.validation import Floats, Ints

from .calling import as_array, call
from .kinds import JudgedExercise, Mistake

PLACES = np.array([1.5, 0.5, 0.0, -1.0])
DRAWS = 20_000


def _frequencies(sample: Ints) -> Floats:
    """How often each of the 24 rankings was drawn, in lexicographic order."""
    code = sample @ 4 ** np.arange(4)
    codes = [np.array(r) @ 4 ** np.arange(4) for r in reference.ranking_probabilities(PLACES)]
    return np.array([(code == c).sum() for c in codes])


def _lost_brackets(scores: Floats, n: int, rng: np.random.Generator) -> Ints:
    return np.argsort(-scores + rng.gumbel(size=(n, len(scores))), axis=1)


def _smallest_first(scores: Floats, n: int, rng: np.random.Generator) -> Ints:
    return np.argsort(scores + rng.gumbel(size=(n, len(scores))), axis=1)


def _gaussian(scores: Floats, n: int, rng: np.random.Generator) -> Ints:
    noise = np.pi / np.sqrt(6) * rng.normal(size=(n, len(scores)))
    return np.argsort(-(scores + noise), axis=1)


def _noise_on_worths(scores: Floats, n: int, rng: np.random.Generator) -> Ints:
    return np.argsort(-(np.exp(scores) + rng.gumbel(size=(n, len(scores)))), axis=1)


def _places(scores: Floats, n: int, rng: np.random.Generator) -> Ints:
    return np.argsort(reference.sample_rankings(scores, n, rng), axis=1)


def _one_noise(scores: Floats, n: int, rng: np.random.Generator) -> Ints:
    return np.tile(reference.sample_rankings(scores, 1, rng), (n, 1))


def _without_noise(scores: Floats, n: int, rng: np.random.Generator) -> Ints:
    return np.tile(np.argsort(-scores), (n, 1))


SAMPLER_MISTAKES = (
    Mistake(
        "lost-brackets",
        _lost_brackets,
        "the noise is taken away from the scores, which picks losers first; every pair still "
        "has the right odds.",
        "The minus sign must hold for score and noise together.",
    ),
    Mistake(
        "smallest-first",
        _smallest_first,
        "argsort puts the smallest utility first.",
        "The favourite is the one with the largest utility.",
    ),
    Mistake(
        "gaussian-noise",
        _gaussian,
        "the noise is Gaussian: nearly right for winners, wrong at the end of the list.",
        "Choices by softmax belong to Gumbel noise.",
    ),
    Mistake(
        "noise-on-worths",
        _noise_on_worths,
        "the noise is added to the worths.",
        "Add it to the scores, the logarithms of the worths.",
    ),
    Mistake(
        "places-for-items",
        _places,
        "entry i is the place of item i; wanted is the item at each place.",
        "One argsort is enough.",
    ),
    Mistake(
        "one-noise-for-all",
        _one_noise,
        "all n rankings are the same.",
        "Every ranking needs its own noise: an array of shape (n, items).",
    ),
    Mistake(
        "no-noise",
        _without_noise,
        "the sorted order comes out every time.",
        "Sort score plus noise.",
    ),
)


def _judge_sampler(sampler: Any) -> str | None:
    """Chi-square on all 24 rankings: against Plackett-Luce, then against each wrong sampler."""
    if not callable(sampler):
        return "Hand in the function itself, by its name, without calling it."
    sample = as_array(call(sampler, PLACES, DRAWS, np.random.default_rng(7)))
    if sample is None or sample.shape != (DRAWS, 4):
        came = "no array" if sample is None else f"shape {sample.shape}"
        return f"Wanted an array of shape (n, items), here ({DRAWS}, 4); got {came}."
    if (np.sort(sample, axis=1) != np.arange(4)).any():
        return "Each row must hold each of the items 0, 1, 2, 3 once."
    counts = _frequencies(sample)
    exact = np.array(list(reference.ranking_probabilities(PLACES).values()))
    if stats.chisquare(counts, DRAWS * exact).pvalue > 1e-4:
        return None
    if (counts == DRAWS).any():
        sorted_order = (sample[0] == np.argsort(-PLACES)).all()
        again = call(sampler, PLACES, 200, np.random.default_rng(8))
        return "no-noise" if sorted_order and (again == sample[0]).all() else "one-noise-for-all"
    for mistake in SAMPLER_MISTAKES:
        theirs = _frequencies(mistake.answer(PLACES, 10 * DRAWS, np.random.default_rng(9)))
        seen = theirs + counts > 0
        if stats.chi2_contingency([counts[seen], theirs[seen]]).pvalue > 1e-4:
            return mistake.name
    worst = np.argmax(np.abs(counts - DRAWS * exact))
    ranking = list(reference.ranking_probabilities(PLACES))[worst]
    return (
        f"These are not Plackett-Luce rankings: with scores {PLACES.tolist()}, {ranking} came "
        f"{counts[worst]} times in {DRAWS}, where {DRAWS * exact[worst]:.0f} are expected."
    )


SAMPLER = JudgedExercise(
    title="01.5 a pair of brackets",
    level="core",
    minutes=12,
    verdict=_judge_sampler,
    mistakes=SAMPLER_MISTAKES,
    then=f"a chi-square test on {DRAWS} rankings has no objection.",
)
