"""The two kinds of exercises: every known mistake by its name, and the messages."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pld_edu import reference
from pld_edu.exercises import NotYet, check
from pld_edu.exercises.kinds import Values, Words, wrong
from tests.support.exercises import EVERY, accept, refuse

ROOT = Path(__file__).parents[2]
WRONG = [
    (e, mistake, variant) for e in EVERY for mistake in e.mistakes for variant in mistake.variants
]


OWN_WORDS = "It is so because of what the notebook says, in my own words, " * 3


def wrong_answer(exercise: Any, variant: Any) -> Any:
    if not isinstance(exercise, Values):
        return variant
    if isinstance(variant, dict):
        return exercise.right | variant
    ((name, right),) = exercise.right.items()
    value = right ^ {variant} if isinstance(right, frozenset) else variant
    return (OWN_WORDS, value) if isinstance(exercise, Words) else {name: value}


@pytest.mark.parametrize(
    ("exercise", "mistake", "variant"),
    WRONG,
    ids=[f"{exercise.number}-{mistake.name}" for exercise, mistake, _ in WRONG],
)
def test_mistake_is_recognised_by_name(exercise: Any, mistake: Any, variant: Any) -> None:
    with pytest.raises(NotYet) as caught:
        exercise.check(wrong_answer(exercise, variant))
    assert caught.value.mistake == mistake.name
    message = " ".join(str(caught.value).split())
    assert all(name in message for name in mistake.name.split(" + "))
    hint = mistake.fix or getattr(exercise, "hint", "")
    assert " ".join(f"Hint: {hint}".split()) in message if hint else mistake.sentence == ""
    assert "Traceback" not in message
    assert "File " not in message
    assert all(len(line) <= 110 for line in str(caught.value).splitlines())


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.number)
def test_exercise_is_well_made(exercise: Any) -> None:
    names = [mistake.name for mistake in exercise.mistakes]
    assert len(names) == len(set(names)) > 0
    graded = r"\d\d\.\d [^·]+ · (warm-up|core|challenge) · \d+ minutes"
    pattern = r"\d\d\.[a-z] [^·]+" if exercise.is_fill_in else graded
    assert re.fullmatch(pattern, exercise.heading)
    for text in (exercise.praise, *(t for m in exercise.mistakes for t in (m.sentence, m.fix))):
        assert not text or text.endswith((".", "?", "= ...", ")"))
    if isinstance(exercise, Values):
        words = isinstance(exercise, Words)
        right = (OWN_WORDS, *exercise.right.values()) if words else exercise.right
        assert exercise.check(right) == exercise.praise


@pytest.mark.slow
def test_importing_exercises_for_numpy_loads_no_torch() -> None:
    code = (
        "import sys\nfrom pld_edu.exercises import exercises\n"
        "for number in ('00', '01', '02', '03', '04', '05'):\n    exercises(number)\n"
        "assert not {'torch', 'jax', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_errors_in_the_learners_code_are_told_in_words() -> None:
    def broken(scores: Any, ranking: Any) -> Any:
        return scores[ranking[99]]

    def forgot(scores: Any, ranking: Any) -> None:
        np.exp(scores)

    chain = "01.2 chain of choices"
    assert "broken raised IndexError: list index out of range" in refuse(chain, broken)
    assert "\n  in the line `return scores[ranking[99]]`\n" in refuse(chain, broken)
    assert "forgot returned None. Does it end with a return?" in refuse(chain, forgot)
    assert "by its name, without calling it" in refuse(chain, 0.25)
    assert "wanted one number, got shape (3,)" in refuse(chain, lambda scores, r: np.ones(3))
    assert "an exponential overflowed" in refuse(chain, lambda scores, r: np.nan)


def test_simple_relations_are_told_in_words() -> None:
    def right(scores: Any, ranking: Any) -> Any:
        return np.exp(reference.log_likelihood(scores, ranking))

    assert "Every number is 2 times the right one." in refuse("01.2", lambda s, r: 2 * right(s, r))
    assert "off by the same +0.5." in refuse("01.2", lambda s, r: right(s, r) + 0.5)
    assert "has the wrong sign." in refuse("01.2", lambda s, r: -right(s, r))
    assert "Right to a few digits only" in refuse("01.2", lambda s, r: np.float32(right(s, r)))
    assert "The numbers differ." in refuse("01.2", lambda s, r: right(s, r) ** 2)


def test_smallest_failing_case_is_shown() -> None:
    message = refuse("01.2", lambda s, r: 2 * np.exp(reference.log_likelihood(s, r)))
    assert "  Smallest case that shows it (7 of 7 do):\n    scores   [2., 1.]\n" in message
    assert f"    wanted   {np.exp(1) / (np.exp(1) + np.exp(2)):.6g}\n" in message


def test_a_mistake_is_named_although_it_also_overflows() -> None:
    def never_taken_away(scores: Any, ranking: Any) -> float:
        with np.errstate(all="ignore"):
            worths = np.exp(np.asarray(scores, float))
            return float(np.prod((worths / worths.sum())[list(ranking)]))

    message = refuse("01.2", never_taken_away, mistake="all-still-there")
    assert "nan or inf came out" in message


def test_overflow_alone_is_no_known_mistake() -> None:
    def right_but_for_large_logits(z: Any, alpha: Any) -> Any:
        gradient = reference.pld_gradient(z, -np.arange(len(z)), 0, weights=alpha)
        return gradient * (np.inf if max(z) > 500 else 1.0)

    assert "nan or inf came out" in refuse("03.1", right_but_for_large_logits)


def test_answers_that_are_no_answers_are_told_in_words() -> None:
    assert "No answer yet" in refuse("00.1", ..., ..., ...)
    assert "No answer yet" in refuse("01.2", ...)
    assert "bill is not answered yet." in refuse("00.1", "fox", ..., 0.28)
    assert "Hand in 3 values: dearest, bill, saved." in refuse("00.1", "fox", 0.8)
    assert "Hand in 3 values" in refuse("00.1", 1, 2, 3, 4)
    assert "bill is one number; got [1, 2]." in refuse("00.1", "fox", [1, 2], 0.28)
    assert "saved = 3 is not right." in refuse("00.1", "fox", 0.8, 3)
    assert "Choose from 'dog', 'fox'" in refuse("00.1", "wolf", 0.8, 0.3)
    assert "possible is a set, such as {'a'} or set()." in refuse("05.2", "acf")
    with pytest.raises(ValueError, match=r"no exercise '01\.9'; those of this notebook are '01\.1"):
        check("01.9", 1)
    with pytest.raises(ValueError, match="exercises exist for notebooks 00, 01"):
        check("99.1", 1)


def test_blanks_are_found_wherever_they_stand() -> None:
    half = {"return": lambda z, alpha: ..., "inside": lambda z, alpha: 2 * ..., "part": [0.3, ...]}
    assert "No answer yet" in refuse("03.1", half["return"])
    assert "No answer yet" in refuse("03.1", half["inside"])
    assert "share is not answered yet." in refuse("10.1", half["part"], 0)


def test_values_may_be_rounded_and_options_written_in_capitals() -> None:
    accept("04.1", np.array([0.45, 4 / 0.9]))
    accept("04.1", 0.45, 4.44)
    accept("05.1", {"A": "listmle", "B": "ce", "C": "pld", "D": "p-ListMLE", "E": "Weighted CE"})
    accept("05.2", ["A", "c", "F"])
    message = refuse("05.2", {"a", "b", "c", "f"}, mistake="wrong-about-b")
    assert "possible = {a, b, c, f} is not right (6 of 7 options are)." in message


def test_a_mistake_that_gives_the_whole_answer_comes_first() -> None:
    three = Values(
        heading="00.9 three",
        right={"a": 1 / 4, "b": -3 / 4, "c": 1 / 2},
        hint="Look.",
        praise="Yes.",
        mistakes=(
            wrong("sign", a=-1 / 4, b=3 / 4, c=-1 / 2)("", "Look."),
            wrong("first-only", a=-1 / 4, b=-1 / 4)("", "Look."),
        ),
    )

    def named(*answer: float) -> str | None:
        with pytest.raises(NotYet) as caught:
            three.check(answer)
        return caught.value.mistake

    assert named(-1 / 4, -1 / 4, 1 / 2) == "first-only"
    assert named(-1 / 4, 3 / 4, -1 / 2) == "sign"
    assert named(-1 / 4, 0.1, 0.2) == "sign"


def test_own_words_come_before_the_list() -> None:
    assert "your text is not answered yet" in refuse("00.2", ..., {"a"})
    assert "at least 20 words" in refuse("00.2", "Because it is so.", set("acdf"))
    assert "Hand in your text, then" in refuse("00.2", set("acdf"))
    accept("00.2", OWN_WORDS, set("acdf"))


def test_an_array_of_the_caller_is_not_to_be_changed() -> None:
    def writes(s: Any, t: Any, y: int) -> float:
        t[y] = np.inf
        return 0.0

    assert "writes changes an array of its caller" in refuse("05.3", writes)


def test_a_notebook_shows_the_message_alone() -> None:
    error = NotYet("first\nsecond")
    assert error._render_traceback_() == ["first", "second"]  # IPython's protocol
