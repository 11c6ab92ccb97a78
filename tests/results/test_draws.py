import numpy as np
import pytest
from scipy import stats

from pld_edu.results.comparison import Interval
from pld_edu.results.draws import Contrast, by_draw, contrast, in_words, report
from pld_edu.results.methods import Setting

# Each method's Top-1 [draws, students]; PLD is ahead of CE by 2.0, 2.4 and 1.9 points.
TOP1 = {
    "ce": [[50.0, 51.0], [48.0, 49.0], [52.0, 52.5]],
    "kd": [[53.0, 51.0], [48.0, 50.5], [51.0, 53.0]],
    "pld": [[52.0, 53.0], [50.4, 51.4], [53.9, 54.4]],
}
ROWS = [
    {"method": method, "temperature": None if method == "ce" else 2.0, "learning_rate": 0.25}
    | {"draw": draw, "seed": 2 * draw + place, "top1": value, "held_out_top1": 0.0}
    for method, draws in TOP1.items()
    for draw, values in enumerate(draws)
    for place, value in enumerate(values)
]
CE, KD, PLD = (Setting(method, None) for method in TOP1)


def test_a_draw_is_one_value():
    found = by_draw(ROWS[::-1])
    for method, values in TOP1.items():
        np.testing.assert_allclose(found[method], np.mean(values, axis=1), rtol=1e-15)


def test_every_method_needs_the_same_draws():
    for rows in (ROWS[1:2] + ROWS[6:], []):
        with pytest.raises(ValueError, match="every method has the same, and one at least"):
            by_draw(rows)


def test_intervals_are_those_of_the_formula():
    to_ce, to_kd = contrast(ROWS, [(PLD, CE), (PLD, KD)])
    lead = np.array([2.0, 2.4, 1.9])
    for found, level in ((to_ce.alone, 0.95), (to_ce.corrected, 0.975)):
        half = stats.t.ppf((1 + level) / 2, 2) * lead.std(ddof=1) / np.sqrt(3)
        np.testing.assert_allclose(found, [2.1, 2.1 - half, 2.1 + half], rtol=1e-9)
    assert (to_kd.first, to_kd.second) == ("pld", "kd")
    assert to_kd.alone.mean == pytest.approx((0.5 + 1.65 + 2.15) / 3)


def test_the_sentence_follows_the_corrected_interval():
    unclear, ahead = Interval(1.0, -0.5, 2.5), Interval(2.0, 0.5, 3.5)
    said = in_words(
        [
            Contrast("pld", "ce", Interval(2.0, 1.0, 3.0), ahead),
            Contrast("pld", "kd", Interval(1.0, 0.1, 1.9), unclear),
            Contrast("pld", "dist", Interval(-1.0, -1.5, -0.5), Interval(-1.0, -1.9, -0.1)),
        ],
        draws=5,
    )
    assert said == (
        "Over 5 draws PLD is ahead of CE (+2.0), not seen to differ from KD (+1.0), "
        "behind DIST (-1.0)."
    )
    rivals = ("ce", "kd", "dist")
    said = in_words([Contrast("pld", rival, unclear, unclear) for rival in rivals], draws=5)
    assert said.endswith("is not seen to differ from CE (+1.0), KD (+1.0) and DIST (+1.0).")


def test_the_report_says_what_was_picked_and_what_intervals_cover():
    text = report(ROWS, [(PLD, CE), (PLD, KD)])
    (line,) = (line for line in text.splitlines() if line.startswith("PLD   "))
    assert line.split()[:4] == ["PLD", "2", "0.25", "52.52"]
    assert "over 3 draws of teacher, training, held-out and test data" in text
    assert "mean over 2 students" in text
    assert "corrected for 2" in text
    assert text.endswith("ahead of CE (+2.1), not seen to differ from KD (+1.4).")
    assert max(map(len, text.splitlines())) <= 100
    assert "Chosen beforehand" not in report(ROWS)
