import itertools
import math

import numpy as np
import pytest
from scipy import stats

from pld_edu.results.comparison import (
    Interval,
    compare,
    mean_interval,
    paired_difference,
    sample_half_width,
)
from tests.support.rows import CE, KD1, KD4, PLD1, PLD4, make_rows

TOP1 = {
    CE: [50.0, 52.0, 54.0],
    KD1: [51.0, 52.5, 55.5],
    KD4: [49.0, 50.5, 53.5],
    PLD1: [53.0, 55.5, 57.0],
    PLD4: [40.0, 60.0, 44.0],
}
HELD_OUT = {CE: 50.0, KD1: 51.0, KD4: 52.0, PLD1: 55.0, PLD4: 54.0}


def by_hand(values) -> tuple[float, float, float]:
    """Mean and mean -/+ t s / sqrt(n)."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * math.sqrt(
        ((values - values.mean()) ** 2).sum() / (n - 1) / n
    )
    return values.mean(), values.mean() - half, values.mean() + half


def test_intervals_are_the_textbook_formula():
    values, others = [3.0, 1.0, 4.0, 1.0, 5.0], [2.0, 7.0, 1.0, 8.0, 2.0]
    assert mean_interval(values) == pytest.approx(by_hand(values), rel=1e-12)
    expected = by_hand(np.subtract(values, others))
    assert paired_difference(values, others) == pytest.approx(expected, rel=1e-12)


def test_each_line_is_set_against_ce_and_against_kd_of_its_own_kind():
    lines = {(line.setting, line.picked): line for line in compare(make_rows(TOP1, HELD_OUT))}
    # KD's pick is T = 4, PLD's is T = 1, whatever the test set says.
    assert list(lines) == [(CE, False), (KD1, False), (PLD1, False), (KD4, True), (PLD1, True)]
    for (setting, picked), line in lines.items():
        assert line.top1 == pytest.approx(by_hand(TOP1[setting]), rel=1e-12)
        if setting == CE:
            assert line.to_ce is line.to_kd is None
            continue
        expected = by_hand(np.subtract(TOP1[setting], TOP1[CE]))
        assert line.to_ce == pytest.approx(expected, rel=1e-12)
        if setting.method == "kd":
            assert line.to_kd is None
            continue
        rival = KD4 if picked else KD1
        expected = by_hand(np.subtract(TOP1[setting], TOP1[rival]))
        assert line.to_kd == pytest.approx(expected, rel=1e-12)


def test_settings_that_are_named_are_listed_once():
    lines = compare(make_rows(TOP1, HELD_OUT), also={KD4, PLD4})
    # KD's pick is T = 4 anyway.
    found = [(line.setting, line.picked) for line in lines]
    assert found == [(CE, 0), (KD1, 0), (PLD1, 0), (PLD4, 0), (KD4, 1), (PLD1, 1)]
    named = lines[3]
    assert named.top1 == pytest.approx(by_hand(TOP1[PLD4]))
    assert named.to_kd == pytest.approx(by_hand(np.subtract(TOP1[PLD4], TOP1[KD1])))


def test_the_order_of_the_rows_does_not_matter():
    rows = make_rows(TOP1, HELD_OUT)
    lines = {(line.setting, line.picked): line for line in compare(rows)}
    for other in (rows[::-1], rows[2::-1] + rows[3:]):  # of all settings, of CE alone
        assert {(line.setting, line.picked): line for line in compare(other)} == lines


def test_between_equal_held_out_accuracies_the_lower_temperature_is_picked():
    tied = HELD_OUT | {KD1: 52.0}
    for rows in (make_rows(TOP1, tied), make_rows(TOP1, tied)[::-1]):
        assert [x.setting for x in compare(rows) if x.picked and x.setting.method == "kd"] == [KD1]


@pytest.mark.parametrize(
    ("interval", "verdict", "text"),
    [
        (Interval(1.0, 0.1, 1.9), "better", "+1.00 [+0.10, +1.90]"),
        (Interval(-1.0, -1.9, -0.1), "worse", "-1.00 [-1.90, -0.10]"),
        (Interval(1.0, -0.1, 2.1), "no difference seen", "+1.00 [-0.10, +2.10]"),
        (Interval(0.0, 0.0, 0.0), "no difference seen", "+0.00 [+0.00, +0.00]"),
        (Interval(1.0, math.nan, math.nan), "one seed: no verdict", "+1.00"),
    ],
)
def test_an_interval_in_words(interval, verdict, text):
    assert interval.verdict == verdict
    assert f"{interval:+.2f}" == text


def test_without_ce_or_kd_their_columns_stay_empty():
    only_pld = {setting: TOP1[setting] for setting in (PLD1, PLD4)}
    assert all(x.to_ce is None and x.to_kd is None for x in compare(make_rows(only_pld, HELD_OUT)))


def test_rows_that_cannot_be_paired():
    rows = make_rows(TOP1, HELD_OUT)
    with pytest.raises(ValueError, match=r"two rows are ce with seed 0"):
        compare([*rows, rows[0]])
    with pytest.raises(ValueError, match=r"same seeds .*: pld-t4 has \[0, 1\], ce has \[0, 1, 2\]"):
        compare(rows[:-1])
    with pytest.raises(ValueError, match=r"there are no rows to compare"):
        compare([])


def test_one_seed_gives_means_and_differences_but_no_verdict():
    rows = [row for row in make_rows(TOP1, HELD_OUT) if row["seed"] == 0]
    lines = {line.setting: line for line in compare(rows) if not line.picked}
    assert lines[PLD1].top1.mean == 53.0
    assert lines[PLD1].to_ce.mean == 53.0 - 50.0
    assert math.isnan(lines[PLD1].to_ce.low)
    assert lines[PLD1].to_ce.verdict == "one seed: no verdict"


def test_a_student_that_diverged_is_left_out_and_pairs_are_those_of_common_seeds():
    rows = make_rows(TOP1 | {KD1: [51.0, None, 55.5], PLD1: [None, 55.5, 57.0]}, HELD_OUT)
    for row in rows:
        if row["top1"] is None:
            row["held_out_top1"] = None
    lines = {(line.setting, line.picked): line for line in compare(rows)}
    assert lines[KD1, False].top1 == pytest.approx(by_hand([51.0, 55.5]), rel=1e-12)
    assert lines[KD1, False].to_ce == pytest.approx(by_hand([1.0, 1.5]), rel=1e-12)
    assert lines[PLD1, False].to_kd.mean == 57.0 - 55.5
    assert lines[PLD1, False].to_kd.verdict == "one seed: no verdict"
    # It had the best held-out accuracy, 55 against 54, in the seeds that are left.
    assert (PLD4, True) in lines


def test_settings_without_a_seed_in_common_are_not_compared():
    found = paired_difference([1.0, math.nan], [math.nan, 2.0])
    assert (found.verdict, f"{found:+.2f}") == ("no seed in common", "-")


def test_several_comparisons_share_the_error_by_bonferroni():
    values, others = [3.0, 1.0, 4.0, 1.0, 5.0], [2.0, 7.0, 1.0, 8.0, 2.0]
    differences = np.subtract(values, others)
    spread = np.std(differences, ddof=1) / math.sqrt(5)
    found = paired_difference(values, others, comparisons=3)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(1 - 0.05 / 6, 4) * spread)
    assert found.mean - found.low == pytest.approx(stats.t.ppf(1 - 0.05 / 6, 4) * spread)


@pytest.mark.parametrize("comparisons", [1, 2])
def test_the_half_width_from_test_samples_is_that_of_all_bootstrap_draws(comparisons):
    hits = np.array([[1, 0, 1, 1, 0], [1, 1, 0, 1, 0], [np.nan] * 5])
    others = np.array([[0, 0, 1, 0, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    means = [
        100 * np.mean([hits[k, i] - others[k, i] for k in (0, 1) for i in drawn])
        for drawn in itertools.product(range(5), repeat=5)
    ]
    expected = stats.norm.ppf(1 - 0.025 / comparisons) * np.std(means)
    found = sample_half_width(hits, others, comparisons)
    assert found == pytest.approx(expected, rel=1e-12)


def test_without_a_common_seed_there_is_no_half_width():
    assert math.isnan(sample_half_width([[math.nan, math.nan]], [[1, 0]]))
