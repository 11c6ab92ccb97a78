"""A fair comparison in words: each method at its own picks, over draws of teacher and data.

The students of a draw share its teacher and its data, so a draw counts as one value: the mean over
its students. Differences are taken draw by draw; intervals are t intervals over the draws.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .comparison import Interval, mean_interval
from .methods import TITLES, Setting

Pair = tuple[Setting, Setting]
PICKED = ("temperature", "learning_rate")
PHRASES = {"better": "ahead of", "worse": "behind", "no difference seen": "not seen to differ from"}


class Contrast(NamedTuple):
    """How far the first method is ahead of the second, in points: two 95% intervals over draws.

    `alone` is uncorrected; `corrected`, which decides what is said, is Bonferroni's for the number
    of primary comparisons.
    """

    first: str
    second: str
    alone: Interval
    corrected: Interval


def by_draw(rows: Iterable[Mapping[str, Any]], key: str = "top1") -> dict[str, np.ndarray]:
    """For each method the mean of `key` over the students of each draw: an array [draws]."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        found.setdefault(row["method"], {}).setdefault(row["draw"], []).append(row[key])
    if len({tuple(sorted(own)) for own in found.values()}) != 1:
        raise ValueError("draws are compared where every method has the same, and one at least")
    return {
        method: np.array([np.mean(own[d]) for d in sorted(own)]) for method, own in found.items()
    }


def contrast(rows: Iterable[Mapping[str, Any]], primary: Sequence[Pair]) -> list[Contrast]:
    """Compare methods by Top-1 in the pairs that were chosen beforehand, first minus second."""
    top1, found = by_draw(rows), []
    for first, second in primary:
        lead = top1[first.method] - top1[second.method]
        corrected = mean_interval(lead, len(primary))
        found.append(Contrast(first.method, second.method, mean_interval(lead), corrected))
    return found


def report(rows: Sequence[Mapping[str, Any]], primary: Sequence[Pair] = ()) -> str:
    """What a comparison has found: a table of the methods, the primary comparisons, a sentence."""
    top1, contrasts = by_draw(rows), contrast(rows, primary)
    lines = ["        T   rate   Top-1, %               difference to CE", "-" * 62]
    for method, row in {row["method"]: row for row in rows}.items():
        tau, rate = ("" if row[key] is None else f"{row[key]:g}" for key in PICKED)
        lines.append(f"{TITLES[method]:6}{tau:>3}{rate:>7}   {mean_interval(top1[method]):.2f}")
        if method != "ce" and "ce" in top1:
            lines[-1] += f"   {mean_interval(top1[method] - top1['ce']):+.2f}"
    draws, students = len({row["draw"] for row in rows}), len(rows) // sum(map(len, top1.values()))
    lines.append(f"""
Brackets: 95% t intervals over {draws} draws of teacher, training, held-out and test data; the value
of a draw is the mean over {students} students. Temperature T and learning rate were picked for each
method on held-out data, from one grid.""")
    if contrasts:
        lines.append(
            f"\nChosen beforehand   difference              corrected for {len(contrasts)}"
        )
    for first, second, alone, corrected in contrasts:
        names = f"{TITLES[first]} - {TITLES[second]}"
        lines.append(f"{names:20}{alone:+.2f}   [{corrected.low:+.2f}, {corrected.high:+.2f}]")
    return "\n".join(lines) + ("\n\n" + in_words(contrasts, draws) if contrasts else "")


def in_words(contrasts: Sequence[Contrast], draws: int) -> str:
    """One sentence for each method that comes first: what it is ahead of, behind, or neither."""
    said: dict[str, dict[str, list[str]]] = {}
    for first, second, alone, corrected in contrasts:
        found = said.setdefault(first, {}).setdefault(PHRASES[corrected.verdict], [])
        found.append(f"{TITLES[second]} ({alone.mean:+.1f})")
    return " ".join(
        f"Over {draws} draws {TITLES[first]} is "
        + ", ".join(f"{phrase} {join(rivals)}" for phrase, rivals in by_phrase.items())
        + "."
        for first, by_phrase in said.items()
    )


def join(names: Sequence[str]) -> str:
    """``CE, KD and DIST``."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
