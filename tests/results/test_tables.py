import numpy as np
import pytest

from pld_edu.results.comparison import (
    ComparisonRow,
    Interval,
    by_setting,
    paired_difference,
    sample_half_width,
)
from pld_edu.results.tables import comparison_table, held_out_table, report, saturation_table
from tests.support.rows import CE, KD1, KD4, PLD1, make_rows

CE_ROW = ComparisonRow(CE, False, Interval(50, 49, 51), None, None)
KD_ROW = ComparisonRow(KD1, False, Interval(52, 51, 53), Interval(2, 0.5, 3.5), None)
PLD_ROW = ComparisonRow(
    PLD1, False, Interval(51, 50, 52), Interval(1, -0.5, 2.5), Interval(-1, -1.5, -0.5)
)
KD4_ROW = KD_ROW._replace(setting=KD4, picked=True)
HELD_OUT = dict.fromkeys((CE, KD1, PLD1), 50.0)
TEMPERATURES = [
    {"temperature": 1.0, "mean_label_weight": 0.99, "share_above_99": 0.75, "cosine_to_ce": 0.999},
    {"temperature": 8.0, "mean_label_weight": 0.25, "share_above_99": 0.0, "cosine_to_ce": 0.73},
]
TEACHER = {"name": "cnn", "parameters": 12970, "student_parameters": 1642, "top1": 98.6}
TEACHER["temperatures"] = TEMPERATURES


def test_a_line_for_each_setting_with_differences_and_verdicts():
    lines = comparison_table([CE_ROW, KD_ROW, PLD_ROW, KD4_ROW]).splitlines()
    assert [" ".join(line.split()) for line in lines[2:]] == [
        "CE 50.00 [49.00, 51.00]",
        "KD 1 52.00 [51.00, 53.00] +2.00 [+0.50, +3.50] better",
        "PLD 1 51.00 [50.00, 52.00] +1.00 [-0.50, +2.50] no difference seen "
        "-1.00 [-1.50, -0.50] worse",
        "KD 4 (picked) 52.00 [51.00, 53.00] +2.00 [+0.50, +3.50] better",
    ]
    starts = {lines[0].index("difference to KD"), lines[4].index("-1.00")}
    assert len(starts) == 1, "columns are aligned"


def test_students_picked_at_temperature_1_are_noted_not_repeated():
    table = comparison_table(
        [CE_ROW, KD_ROW, PLD_ROW, KD_ROW._replace(picked=True), PLD_ROW._replace(picked=True)]
    )
    assert table.splitlines()[5:] == [
        "KD, PLD: held-out data picked T = 1, so the line above stands for both."
    ]


def test_their_difference_to_a_kd_picked_elsewhere_is_told():
    picked = PLD_ROW._replace(picked=True, to_kd=Interval(0.25, 0.1, 0.4))
    table = comparison_table([CE_ROW, KD_ROW, PLD_ROW, KD4_ROW, picked])
    assert table.splitlines()[6:] == [
        "PLD: held-out data picked T = 1, so the line above stands for both.",
        "PLD, T = 1 to KD at the T picked for KD: +0.25 [+0.10, +0.40] better",
    ]


def test_held_out_table_has_the_mean_over_the_seeds_of_every_setting():
    rows = [
        {"method": method, "temperature": temperature, "seed": seed, "held_out_top1": base + seed}
        for method, temperature, base in [("pld", 4.0, 30), ("ce", None, 10), ("pld", 1.0, 20)]
        for seed in range(3)
    ]
    assert [line.split() for line in held_out_table(rows).splitlines()] == [
        ["held-out", "Top-1,", "%", "no", "T", "T", "=", "1", "T", "=", "4"],
        ["PLD", "21.00", "31.00"],
        ["CE", "11.00"],
    ]
    lengths = [len(line) for line in held_out_table(rows).splitlines()]
    assert lengths == [17 + 3 * 9, 17 + 3 * 9, 17 + 9], "columns are aligned"


def test_saturation_table_has_a_line_for_each_temperature():
    lines = saturation_table(TEMPERATURES).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["1", "0.9900", "75.00%", "0.9990"],
        ["8", "0.2500", "0.00%", "0.7300"],
    ]


@pytest.mark.parametrize(
    ("cosine", "sentence"),
    [
        (0.9901, "makes PLD cross-entropy in all but name (cosine 0.9901); at T = 8"),
        (0.99, "makes PLD differ from cross-entropy (cosine 0.9900); at T = 8"),
    ],
)
def test_report_says_in_all_but_name_only_of_a_cosine_above_99(cosine, sentence):
    first, last = TEMPERATURES
    teacher = TEACHER | {"temperatures": [first | {"cosine_to_ce": cosine}, last]}
    assert sentence in report(make_rows({CE: [50.0]}, {CE: 50.0}), teacher)


def test_report_names_teacher_student_seeds_and_fits_120_columns():
    rows = make_rows({CE: [50, 51, 52], KD1: [50, 52, 56]}, {CE: 50.0, KD1: 50.0})
    text = report(iter(rows), TEACHER)
    assert "Teacher cnn: 12,970 parameters, Top-1 98.6%. Student mlp32: 1,642" in text
    assert "over 3 student seeds (initial weights and batch order), with one\nteacher, " in text
    assert "teacher, training set and test set, each on its own." in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_report_of_one_seed_says_that_it_proves_nothing():
    text = report(make_rows({CE: [50.0], KD1: [51.25]}, {CE: 50.0, KD1: 50.0}), TEACHER)
    assert "One seed gives no interval and no verdict" in text
    (line,) = [line for line in text.splitlines() if line.split()[:2] == ["KD", "1"]]
    assert line.split() == ["KD", "1", "51.25", "+1.25", "one", "seed:", "no", "verdict"]
    assert "nan" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_report_names_the_students_that_diverged_and_has_no_nan():
    rows = make_rows(
        {CE: [50, 51, 52], KD1: [50, None, 56], PLD1: [None] * 3},
        dict.fromkeys((CE, KD1, PLD1), 50.0),
    )
    for row in rows:
        if row["top1"] is None:
            row |= {"held_out_top1": None, "diverged": {"epoch": 2, "step": 7}}
    text = report(rows, TEACHER)
    left_out = "Diverged, so left out of means and of differences, which take the other seeds:"
    lost = [f"PLD, T = 1, seed {seed} (epoch 2, step 7)" for seed in range(3)]
    sentence = f"{left_out} {'; '.join(['KD, T = 1, seed 1 (epoch 2, step 7)', *lost])}."
    assert sentence in " ".join(text.split())
    assert "nan" not in text
    (line,) = [line for line in text.splitlines() if line.split()[:2] == ["PLD", "1"]]
    assert " ".join(line.split()) == "PLD 1 - - no seed in common - no seed in common"


def test_what_was_chosen_before_the_run_comes_first_with_corrected_intervals():
    rows = make_rows({CE: [50, 51, 52], KD1: [50, 52, 57], PLD1: [53, 54, 60]}, HELD_OUT)
    hits = {s: np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]) for s in (CE, KD1)}
    hits[PLD1] = np.array([[0, 1, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1]])
    text = report(rows, TEACHER, [(PLD1, KD1), (PLD1, CE)], hits)
    lines = text.splitlines()
    assert lines[2] == "Chosen before the run, 95% over both together (over student seeds):"
    for line, theirs, name in zip(lines[3:5], (KD1, CE), ("KD, T = 1", "CE"), strict=True):
        top1 = by_setting(rows, "top1")
        found = paired_difference(top1[PLD1], top1[theirs], 2)
        samples = sample_half_width(hits[PLD1], hits[theirs], 2)
        expected = f"PLD, T = 1, minus {name}: {found:+.2f} {found.verdict}"
        assert line == f"  {expected}; test samples drawn anew: +-{samples:.2f}"
    assert lines[6] == "Exploratory, not corrected:"
    samples = sample_half_width(hits[PLD1], hits[CE])
    assert f"drawn anew move differences to CE by +-0.00 to {samples:.2f} (95%)." in text
    assert "Chosen" not in report(rows, TEACHER)
    assert max(map(len, lines)) <= 120
