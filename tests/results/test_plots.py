import matplotlib as mpl
import numpy as np
import pytest
from scipy import stats

from pld_edu.results import plots
from pld_edu.results.metrics import reliability
from tests.support.rows import CE, KD1, KD4, PLD1, PLD4, make_rows

SETTINGS = [CE, KD1, KD4, PLD1, PLD4]
HELD_OUT = dict(zip(SETTINGS, [50.0, 51.0, 49.0, 50.0, 53.0], strict=True))
TOP1 = np.random.default_rng(0).normal(55, 2, size=(5, 4))
ROWS = make_rows(dict(zip(SETTINGS, TOP1, strict=True)), HELD_OUT)
EPOCHS = [
    {"epoch": e, "train_top1": 50.0 + e, "held_out_top1": 45.0 + e, "mean_label_weight": 0.1 * e}
    | {"share_above_99": 0.01 * e, "cosine_to_ce": 0.5 + 0.1 * e}
    for e in range(1, 5)
]
CURVES = [
    {**setting._asdict(), "seed": seed, "epoch": epoch}
    | {"held_out_top1": 10.0 * epoch + seed**2 + place / 8}
    for place, setting in enumerate(SETTINGS)
    for seed in range(3)
    for epoch in (1, 2)
]


def figures():
    return [
        plots.comparison(ROWS),
        plots.temperature_curve(ROWS),
        plots.teacher_saturation(EPOCHS),
        plots.learning_curves(CURVES),
    ]


def test_size_and_no_change_of_style(tmp_path):
    before = dict(mpl.rcParams)
    for place, figure in enumerate(figures()):
        assert figure.get_size_inches().tolist() == [6.0, 3.5]
        figure.savefig(tmp_path / f"{place}.png")
        assert (tmp_path / f"{place}.png").stat().st_size > 5000
    assert dict(mpl.rcParams) == before


def test_comparison_shows_every_student_the_mean_and_the_interval():
    (axes,) = plots.comparison(ROWS).axes
    titles = [label.get_text() for label in axes.get_yticklabels()]
    assert titles == [
        "CE",
        "KD, T = 1 (picked)",
        "PLD, T = 1",
        "PLD, T = 4 (picked)",
    ]
    lines = axes.get_lines()
    for place, row in enumerate((0, 1, 3, 4)):
        students, interval, mean = lines[3 * place : 3 * place + 3]
        np.testing.assert_array_equal(students.get_xdata(), TOP1[row])
        assert mean.get_xdata()[0] == pytest.approx(TOP1[row].mean())
        half = stats.t.ppf(0.975, 3) * TOP1[row].std(ddof=1) / 2
        expected = [TOP1[row].mean() - half, TOP1[row].mean() + half]
        assert interval.get_xdata() == pytest.approx(expected)
    assert lines[-1].get_xdata() == pytest.approx([TOP1[0].mean()] * 2)


def test_temperature_curve_shows_test_and_held_out_means():
    (axes,) = plots.temperature_curve(ROWS).axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()[:6]]
    means = TOP1.mean(axis=1)
    assert drawn == [
        ([1.0, 4.0], [means[0]] * 2),
        ([1.0, 4.0], [50.0, 50.0]),
        ([1.0, 4.0], [means[1], means[2]]),
        ([1.0, 4.0], [51.0, 49.0]),
        ([1.0, 4.0], [means[3], means[4]]),
        ([1.0, 4.0], [50.0, 53.0]),
    ]
    markers = [line.get_marker() for line in axes.get_lines()[0:6:2]]
    assert len(set(markers)) == 3, "methods differ without colour too"


def test_temperature_curve_of_a_run_without_one_setting():
    """As where a student diverged."""
    rows = [row for row in ROWS if (row["method"], row["temperature"]) != PLD1]
    assert len(rows) < len(ROWS)
    (axes,) = plots.temperature_curve(rows).axes
    drawn = [list(line.get_xdata()) for line in axes.get_lines()[:6]]
    assert sorted(drawn) == [[1.0, 4.0]] * 4 + [[4.0]] * 2


def test_teacher_saturation_shows_the_history():
    left, right = plots.teacher_saturation(EPOCHS).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in left.lines + right.lines}
    assert drawn["held-out"] == [46.0, 47.0, 48.0, 49.0]
    assert drawn["cosine to CE's gradient"] == [0.5 + 0.1 * e for e in (1, 2, 3, 4)]
    assert drawn["share of weights > 0.99"] == [0.01 * e for e in (1, 2, 3, 4)]
    styles = [(line.get_linestyle(), line.get_marker()) for line in right.lines]
    assert len(set(styles)) == 3, "lines differ without colour too"


def test_learning_curves_show_means_over_seeds_and_ce_in_every_panel():
    panels = plots.learning_curves(CURVES).axes
    assert [axes.get_title() for axes in panels] == ["T = 1", "T = 4"]
    for axes, places in zip(panels, ((0, 1, 3), (0, 2, 4)), strict=True):
        drawn = [list(line.get_ydata()) for line in axes.get_lines()]
        expected = [[10 * epoch + 5 / 3 + place / 8 for epoch in (1, 2)] for place in places]
        np.testing.assert_allclose(drawn, expected)
        assert {text.get_text() for text in axes.texts} == {"CE", "KD", "PLD"}
        assert len({line.get_marker() for line in axes.get_lines()}) == 3
        heights = sorted(text.xy[1] for text in axes.texts)
        assert np.diff(heights).min() > 0.05, "names must not cover each other"


def test_a_student_that_diverged_is_not_drawn():
    first = CURVES[0] | {"seed": 99, "epoch": 1, "held_out_top1": 0.0}
    drawn, expected = (
        [line.get_ydata() for axes in plots.learning_curves(lines).axes for line in axes.lines]
        for lines in ([*CURVES, first], CURVES)
    )
    np.testing.assert_array_equal(drawn, expected)
    lost = [row | {"top1": None} if row["method"] == "kd" else row for row in ROWS]
    (axes,) = plots.comparison(lost).axes
    assert "diverged" in {text.get_text() for text in axes.texts}


def test_reliability_diagrams_show_accuracies_and_the_error():
    generator = np.random.default_rng(3)
    found = {
        setting: reliability(
            generator.normal(0, 2, size=(200, 4)), generator.integers(4, size=200), bins=10
        )
        for setting in SETTINGS
    }
    panels = plots.reliability_diagrams({**found, "teacher": found[CE]}).axes
    assert [axes.get_visible() for axes in panels] == [True] * 6 + [False] * 4
    assert panels[5].get_title().startswith("teacher: ")
    for axes, (setting, bins) in zip(panels[:5], found.items(), strict=True):
        heights = axes.patches[0].get_data().values
        np.testing.assert_array_equal(heights, np.where(bins.samples, bins.accuracy, 0))
        assert axes.get_title().endswith(f": {100 * bins.expected_error:.1f}")
        assert axes.get_title().startswith(setting.method.upper())


def test_leads_over_draws_are_those_of_the_rows():
    top1 = {"ce": [50.0, 49.0, 51.0], "pld": [51.0, 51.0, 50.5]}
    rows = [
        {"method": method, "temperature": None if method == "ce" else 2.0, "draw": draw}
        | {"top1": value + change}
        for method, values in top1.items()
        for draw, value in enumerate(values)
        for change in (-1.0, 1.0)
    ]
    (axes,) = plots.over_draws(rows).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["PLD, T = 2"]
    draws, interval, mean, _ = axes.get_lines()
    lead = np.array([1.0, 2.0, -0.5])
    np.testing.assert_array_equal(draws.get_xdata(), lead)
    assert mean.get_xdata()[0] == pytest.approx(lead.mean())
    half = stats.t.ppf(0.975, 2) * lead.std(ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(interval.get_xdata(), [lead.mean() - half, lead.mean() + half])
