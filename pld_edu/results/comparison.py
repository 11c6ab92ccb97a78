"""Is one method better than another? Paired differences over seeds, with intervals.

All methods see the same seeds (initial weights and batches), so differences are taken seed by
seed; one whose student diverged is left out. Intervals are 95% t intervals over the seeds, each on
its own: not corrected for how many there are, unless `comparisons` says so.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .methods import Setting


class Interval(NamedTuple):
    """A mean over seeds and its 95% t interval, which is NaN to NaN for one seed.

    Without any seed the mean is NaN too.

    ``f"{interval:.2f}"`` is ``52.00 [51.00, 53.00]``, and the mean alone for one seed.
    """

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Of a difference: on which side of 0 the whole interval lies."""
        if math.isnan(self.mean):
            return "no seed in common"
        if math.isnan(self.low):
            return "one seed: no verdict"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference seen"

    def __format__(self, digits: str) -> str:
        if math.isnan(self.mean):
            return "-"
        mean, low, high = (f"{value:{digits}}" for value in self)
        return mean if math.isnan(self.low) else f"{mean} [{low}, {high}]"


class ComparisonRow(NamedTuple):
    """A setting's Top-1, and its difference to CE's and KD's: positive if the setting is ahead.

    KD is at temperature 1; if the setting is a pick (`picked`), at the temperature picked for KD.
    """

    setting: Setting
    picked: bool
    top1: Interval
    to_ce: Interval | None
    to_kd: Interval | None


def compare(
    rows: Iterable[Mapping[str, Any]], also: Collection[Setting] = ()
) -> list[ComparisonRow]:
    """Compare the methods by Top-1 on the test set, in the result rows of one teacher and student.

    First come cross-entropy, the other methods at temperature 1, and the settings named in `also`
    unless they are picked anyway; then each method at its picked temperature, which may be 1 again:
    the lowest of those with the highest mean `held_out_top1` over the seeds. The test set has no
    part in the pick, and a temperature at which a student diverged is only picked if each of them
    has one.

    Raises
    ------
    ValueError
        A repeated row, settings with different seeds, or no rows; so does `by_setting`.
    """
    rows = list(rows)
    top1, held_out = by_setting(rows, "top1"), by_setting(rows, "held_out_top1")
    score = {s: np.nan_to_num(own.mean(), nan=-np.inf) for s, own in held_out.items()}
    picks: dict[str, Setting] = {}
    for setting in sorted(top1, key=lambda setting: setting.temperature or 0.0):
        best = picks.setdefault(setting.method, setting)
        if score[setting] > score[best]:
            picks[setting.method] = setting

    def lead(setting: Setting, rival: Setting) -> Interval | None:
        if rival not in top1 or setting.method in ("ce", rival.method):
            return None
        return paired_difference(top1[setting], top1[rival])

    def row(setting: Setting, picked: bool) -> ComparisonRow:
        kd = picks["kd"] if picked and "kd" in picks else Setting("kd", 1.0)
        to_ce, to_kd = lead(setting, Setting("ce", None)), lead(setting, kd)
        return ComparisonRow(setting, picked, mean_interval(top1[setting]), to_ce, to_kd)

    named = {setting for setting in also if picks.get(setting.method) != setting}
    fixed = [row(s, False) for s in top1 if s.temperature in (None, 1.0) or s in named]
    return fixed + [row(pick, True) for pick in picks.values() if pick.temperature is not None]


def mean_interval(values: ArrayLike, comparisons: int = 1) -> Interval:
    """The mean of one value per seed, and its interval: mean +- t_{q, n-1} std / sqrt(n).

    q = 1 - 0.025 / m is Bonferroni's level for m `comparisons`: with a chance of at least 95% all m
    intervals hold. NaN, a student that diverged, is left out of the mean and of n.
    """
    array = np.asarray(values, dtype=np.float64)
    kept = array[~np.isnan(array)]
    mean = float(kept.mean()) if len(kept) else math.nan
    if len(kept) < 2:
        return Interval(mean, math.nan, math.nan)
    quantile = stats.t.ppf(1 - 0.025 / comparisons, len(kept) - 1)
    half = float(quantile * kept.std(ddof=1) / math.sqrt(len(kept)))
    return Interval(mean, mean - half, mean + half)


def paired_difference(values: ArrayLike, others: ArrayLike, comparisons: int = 1) -> Interval:
    """The mean of `values` - `others`, and its 95% t interval, over the seeds that both have.

    With m `comparisons` it is one of m that hold together, as `mean_interval` says.
    """
    return mean_interval(np.subtract(values, others), comparisons)


def sample_half_width(hits: ArrayLike, others: ArrayLike, comparisons: int = 1) -> float:
    """How far test samples drawn anew may move the mean difference of two Top-1, in points.

    Arrays [seeds, N] have 1 where a student is right, 0 where it is wrong, and NaN throughout the
    row of a seed without a student; `pld_edu.results.records.read_hits` reads them. With d_i the
    mean over the seeds that both have of the difference at sample i, the half width is

        100 z_q std_i(d_i) / sqrt(N),    q = 1 - 0.025 / comparisons

    where std / sqrt(N) is that of the mean under a bootstrap that draws samples for both alike. It
    is no part of the interval over seeds, and about independent of it. NaN without a common seed.
    """
    both = np.subtract(hits, others)
    both = both[~np.isnan(both).any(axis=-1)]
    if not len(both):
        return math.nan
    spread = both.mean(axis=0).std() / math.sqrt(both.shape[-1])
    return float(100 * stats.norm.ppf(1 - 0.025 / comparisons) * spread)


def by_setting(rows: Iterable[Mapping[str, Any]], key: str) -> dict[Setting, np.ndarray]:
    """For each setting the rows' values of `key`: an array [seeds], in the order of the seeds.

    It is NaN where the row has None, since the student diverged.
    """
    found: dict[Setting, dict[int, float]] = {}
    for row in rows:
        setting, seed = Setting(row["method"], row["temperature"]), row["seed"]
        if seed in found.setdefault(setting, {}):
            raise ValueError(f"two rows are {setting.name} with seed {seed}; compare one run")
        found[setting][seed] = row[key]
    if not found:
        raise ValueError("there are no rows to compare")
    first, seeds = next((setting.name, sorted(values)) for setting, values in found.items())
    for setting, values in found.items():
        if sorted(values) != seeds:
            raise ValueError(
                f"paired differences need the same seeds for every setting: {setting.name} has "
                f"{sorted(values)}, {first} has {seeds}"
            )
    return {s: np.array([own[k] for k in seeds], dtype=float) for s, own in found.items()}
