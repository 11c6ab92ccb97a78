"""Exercises for notebook 08: seeds in pairs, an honest sentence, a fair comparison."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from .calling import NotYet
from .kinds import Code, Values, Words, wrong, wrong_options

PAIRS = Values(
    heading="08.1 seed by seed · warm-up · 6 minutes",
    right={"kd_ahead": 3.0, "pairing_helps": frozenset({"KD"})},
    options=("KD", "DIST"),
    rtol=0.0,
    hint="A point above the diagonal is a seed in which the method beat CE. Pairing helps if the "
    "two accuracies rise together.",
    praise="Seven of ten seeds against KD, and still no difference seen: they lost by very little.",
    mistakes=(
        wrong("below-for-above", kd_ahead=7.0)(
            "These are the seeds in which CE was ahead.", "Which axis is KD's?"
        ),
        wrong("pairing-always-helps", pairing_helps=frozenset({"KD", "DIST"}))(
            "Where CE is good, DIST at tau = 8 is rather bad, so differences scatter more.",
            "Var(a - b) = Var(a) + Var(b) - 2 Cov(a, b). Which sign has the covariance?",
        ),
    ),
)

HONEST = Words(
    heading="08.2 say it honestly · core · 10 minutes",
    right={"belongs": frozenset("bdf")},
    options="abcdef",
    hint="Ask of each sentence: could these ten pairs have shown it to be false?",
    praise="For example: over ten paired seeds PLD's Top-1 differed from CE's by -0.19 points, 95% "
    "interval -0.77 to +0.38. A gain above 0.4 is unlikely here; a small one may exist. This holds "
    "for one teacher, one data set and this recipe.",
    mistakes=wrong_options(
        a="An interval that contains 0 does not show that two methods are equal.",
        b="The mean and its interval, with what they are in, are the result itself.",
        c="The method makes intervals that are right in 95% of experiments; that is not this.",
        d="The interval's upper end says which gains the data speak against.",
        e="The seeds cover the student's luck only, not other data or teachers.",
        f="What was held fixed is part of the sentence.",
    ),
)

SD, TARGET, BUDGET = 0.9, 0.5, 100  # of paired differences; half of the interval's width; runs
PARTS = ("ce_settings", "kd_settings", "pld_settings", "tuning_seeds", "final_seeds")


def half_width(seeds: float) -> float:
    """Half the 95% t interval of a mean of paired differences with the deviation SD."""
    return float(stats.t.ppf(0.975, seeds - 1) * SD / np.sqrt(seeds)) if seeds > 1 else np.inf


def _test_plan(plan: Any) -> str | None:
    """The first weakness of a plan to compare CE, KD and PLD with at most 100 runs."""
    if not isinstance(plan, Mapping) or {*plan} != {*PARTS, "pick_on"}:
        raise NotYet(f"  A plan has the keys {', '.join(PARTS)} and pick_on.")
    ce, kd, pld, tuning, final = (plan[part] for part in PARTS)
    if not all(isinstance(plan[part], int) and plan[part] > 0 for part in PARTS):
        raise NotYet("  Settings and seeds are whole numbers from 1 on.")
    runs = (ce + kd + pld) * tuning + 3 * final
    if plan["pick_on"] != "held-out":
        return "picked-on-the-test-set"
    if not ce == kd == pld:
        return "unequal-tuning"
    if half_width(final) > TARGET:
        return "too-few-seeds"
    return None if runs <= BUDGET else f"These are {runs} runs; {BUDGET} can be paid for."


def _plan(settings: tuple[int, int, int], seeds: int = 15, pick: str = "held-out") -> Any:
    return dict(zip(PARTS, (*settings, 2, seeds), strict=True)) | {"pick_on": pick}


FAIR = Code(
    heading="08.3 a hundred runs · challenge · 15 minutes",
    test=_test_plan,
    praise="New seeds at the end matter too: a setting picked by its luck would keep that luck.",
    mistakes=(
        wrong("picked-on-the-test-set", _plan((3, 3, 3), pick="test"))(
            "The best of several numbers is too good.", "Which data may choose, and which report?"
        ),
        wrong("unequal-tuning", _plan((1, 4, 4)), _plan((3, 3, 6)))(
            "One method gets more trials than another; a gain may be the tuning's.",
            "CE has no temperature, but it has learning rates to try.",
        ),
        wrong("too-few-seeds", _plan((3, 3, 3), seeds=10))(
            "The interval would be wider than half a point to each side.",
            "t.ppf(0.975, n - 1) * 0.9 / sqrt(n) must not exceed 0.5.",
        ),
    ),
)

EXERCISES = (PAIRS, HONEST, FAIR)

LEADS = np.array([0.9, 0.4, 1.3, -0.2, 0.6])  # of five draws, each the mean over eight students


def _low(quantile: float = 2.776, n: int = 5, ddof: int = 1) -> float:
    """Lower end of the interval: mean - t s / sqrt(n)."""
    return LEADS.mean() - quantile * LEADS.std(ddof=ddof) / np.sqrt(n)


LOWER_END = Values(
    heading="08.a lower end",
    right={"low": _low()},
    hint="The mean, minus t times the standard deviation of the five, over the root of five.",
    praise="Just below 0: with five draws a mean lead of 0.6 points may still be luck.",
    mistakes=(
        wrong("students-counted", _low(n=40), _low(2.023, n=40))(
            "This counts all 40 students, as if each had a teacher and data of its own.",
            "Students of one draw share its luck. How many draws are there?",
        ),
        wrong("no-root", _low(n=1))(
            "This is where single draws lie, not their mean.", "Divide by the root of 5."
        ),
        wrong("divided-by-n", _low(ddof=0))(
            "This standard deviation divides by 5.", "Divide by 4: ddof=1."
        ),
        wrong("normal-quantile", _low(1.96))(
            "1.96 is the quantile for very many draws.", "With five draws t is larger."
        ),
        wrong("upper-end", 2 * LEADS.mean() - _low())("This is the upper end.", "Subtract."),
    ),
)

FILL_INS = (LOWER_END,)
