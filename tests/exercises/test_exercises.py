"""Exercises: the student's notebooks, the solved ones, and every mistake a check can name."""

import importlib.util
import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from fractions import Fraction
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pld_edu import reference
from pld_edu.exercises import NOTEBOOKS, NotYet, check, exercises
from pld_edu.exercises.check_your_own import GUILTY

FOLDER = Path(__file__).parents[2] / "notebooks" / "exercises"
SOLVED = sorted((FOLDER / "solutions").glob("*.ipynb"))
WRITTEN = [path.stem[:2] for path in SOLVED]
EVERY = [exercise for number in WRITTEN for exercise in exercises(number)]
MISTAKES = [(exercise, mistake) for exercise in EVERY for mistake in exercise.mistakes]


def load_build() -> Any:
    spec = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_build()


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def sources(notebook: dict[str, Any], kind: str) -> list[str]:
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == kind]


def checked_title(source: str) -> str | None:
    found = re.match(r'check\(\s*"([^"]+)"', source)
    return found[1] if found else None


@pytest.fixture(params=SOLVED, ids=lambda path: path.stem)
def solved(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_registered_notebook_is_there() -> None:
    assert list(NOTEBOOKS) == WRITTEN
    assert sorted(p.name for p in FOLDER.glob("*.ipynb")) == [p.name for p in SOLVED]


def test_students_version_is_what_the_command_makes(solved: Path) -> None:
    student = build.as_text(build.student_version(read(solved)))
    assert (FOLDER / solved.name).read_text(encoding="utf-8") == student
    assert "SOLUTION" not in student


def test_build_leaves_out_solutions_and_refuses_half_a_mark() -> None:
    def cell(source: str) -> dict[str, Any]:
        return {"cell_type": "code", "id": "c01", "source": source, "outputs": ["old"]}

    inside = "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"
    top = "x = ...\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\nprint(x)"
    cells = build.student_version({"cells": [cell(inside), cell(top)]})["cells"]
    todo = 'def f():\n    # your code here\n    raise NotImplementedError("your turn")'
    assert "".join(cells[0]["source"]) == todo
    assert "".join(cells[1]["source"]) == "x = ...\n# your code here\nprint(x)"
    assert cells[0]["outputs"] == []
    with pytest.raises(ValueError, match="cell c01 has a solution mark without its partner"):
        build.student_version({"cells": [cell("### BEGIN SOLUTION\nx = 1")]})


def test_every_exercise_has_its_text_its_cell_and_its_check(solved: Path) -> None:
    notebook, known = read(solved), exercises(solved.stem[:2])
    headings = [text.splitlines()[0] for text in sources(notebook, "markdown")]
    headings = [line for line in headings if re.match(r"## \d\d\.", line)]
    assert headings == [f"## {e.title} · {e.level} · {e.minutes} minutes" for e in known]
    titles = [checked_title(source) for source in sources(notebook, "code")]
    assert [title for title in titles if title] == [e.title for e in known]

    opening = sources(notebook, "markdown")[0]
    assert opening.startswith(f"# {solved.stem[:2]} · ")
    assert (
        f"**Time** ~{sum(e.minutes for e in known)} minutes for {len(known)} exercises" in opening
    )
    assert {e.level for e in known} == {"warm-up", "core", "challenge"}


def test_links_lead_somewhere(solved: Path) -> None:
    for path in (solved, FOLDER / solved.name):
        text = "\n".join(sources(read(path), "markdown"))
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            assert "://" in target or (path.parent / target).exists(), target


def test_solved_version_was_run_and_is_right(solved: Path) -> None:
    for cell in read(solved)["cells"]:
        if cell["cell_type"] == "code":
            assert cell["execution_count"] is not None
            assert all(o.get("name") != "stderr" for o in cell["outputs"])
            if checked_title("".join(cell["source"])):
                assert "".join(cell["outputs"][-1]["text"]).startswith("Right: ")


def test_students_version_fails_each_check(solved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    namespace: dict[str, Any] = {"__name__": "student"}
    failures = []
    for source in sources(read(FOLDER / solved.name), "code"):
        title = checked_title(source)
        try:
            with redirect_stdout(io.StringIO()):
                exec(compile(source, "<cell>", "exec"), namespace)
        except (NotYet, NotImplementedError) as error:  # the latter: a cell uses what is unwritten
            if title or isinstance(error, NotYet):
                failures.append((title, error))
    plt.close("all")
    assert [title for title, _ in failures] == [e.title for e in exercises(solved.stem[:2])]
    for title, error in failures:
        assert isinstance(error, NotYet)
        assert error.mistake is None
        assert str(error).startswith(f"Not yet: {title}\n")


@pytest.mark.parametrize(
    ("exercise", "mistake"), MISTAKES, ids=[f"{e.number}-{m.name}" for e, m in MISTAKES]
)
def test_mistake_is_recognised_by_name(exercise: Any, mistake: Any) -> None:
    with pytest.raises(NotYet) as caught:
        exercise.judge(mistake.answer)
    assert caught.value.mistake == mistake.name
    message = str(caught.value)
    assert mistake.hint.split(".")[0] in " ".join(message.split())
    assert "Traceback" not in message
    assert "File " not in message
    assert all(len(line) <= 110 for line in message.splitlines())


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.number)
def test_exercise_is_well_made(exercise: Any) -> None:
    names = [mistake.name for mistake in exercise.mistakes]
    assert len(names) == len(set(names)) > 0
    assert re.fullmatch(r"\d\d\.\d", exercise.number)
    for mistake in exercise.mistakes:
        assert not mistake.why or mistake.why.endswith((".", "?"))
        assert not mistake.hint or mistake.hint.endswith((".", "?"))


def test_checks_for_numpy_do_not_import_torch() -> None:
    numbers = [number for number in ("01", "02", "03", "04", "05") if number in WRITTEN]
    code = (
        "import sys\nfrom pld_edu.exercises import exercises\n"
        f"for exercise in [e for n in {numbers} for e in exercises(n)]:\n"
        "    try:\n        exercise.judge(exercise.mistakes[0].answer)\n"
        "    except AssertionError:\n        continue\n"
        "assert 'torch' not in sys.modules and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def said(title: str, *answer: Any) -> str:
    with pytest.raises(NotYet) as caught:
        check(title, *answer)
    assert caught.value.mistake is None
    return str(caught.value)


def test_errors_in_the_learners_code_are_told_in_words() -> None:
    def broken(scores: Any, ranking: Any) -> Any:
        return scores[ranking[99]]

    def forgot(scores: Any, ranking: Any) -> None:
        np.exp(scores)

    chain = "01.3 chain of choices"
    assert "broken raised IndexError: list index out of range" in said(chain, broken)
    assert "\n  in the line `return scores[ranking[99]]`\n" in said(chain, broken)
    assert "forgot returned None. Does it end with a return?" in said(chain, forgot)
    assert "by its name, without calling it" in said(chain, 0.25)
    assert "wanted one number, got shape (3,)" in said(chain, lambda scores, r: np.ones(3))
    assert "an exponential overflowed" in said(chain, lambda scores, r: np.nan)


def test_simple_relations_are_told_in_words() -> None:
    def right(scores: Any, ranking: Any) -> Any:
        return np.exp(reference.log_likelihood(scores, ranking))

    assert "Every number is 2 times the right one." in said("01.3", lambda s, r: 2 * right(s, r))
    assert "off by the same +0.5." in said("01.3", lambda s, r: right(s, r) + 0.5)
    assert "has the wrong sign." in said("01.3", lambda s, r: -right(s, r))
    assert "Right to a few digits only" in said("01.3", lambda s, r: np.float32(right(s, r)))
    assert "The numbers differ." in said("01.3", lambda s, r: right(s, r) ** 2)


def test_answers_that_are_no_answers_are_told_in_words() -> None:
    assert "No answer yet" in said("02.1", ..., ..., ...)
    assert "Not all of it is answered yet." in said("02.1", 0.25, ..., 0.5)
    assert "The answer is 3 numbers; got [0.25, 0.5 ]." in said("02.1", 0.25, 0.5)
    assert "2 of 3 are right" in said("02.1", 0.25, 0.7, 0.5)
    assert "Choose from '1e-1', '1e-3'" in said("02.3", "1e-4")
    with pytest.raises(ValueError, match=r"no exercise '01\.9'; those of this notebook are '01\.1"):
        check("01.9", 1)
    with pytest.raises(ValueError, match="exercises exist for notebooks 01, 02"):
        check("99.1", 1)


def test_a_notebook_shows_the_message_alone() -> None:
    error = NotYet("first\nsecond")
    assert error._render_traceback_() == ["first", "second"]  # IPython's protocol


def answer_of(number: str) -> Any:
    return next(e for e in EVERY if e.number == number).right


def test_answers_by_another_route() -> None:
    """Fractions, brute force, the reference's derivatives."""
    table = reference.ranking_probabilities(np.log([4, 3, 2, 1]))
    apple, plum = 0, 2
    first = sum(p for r, p in table.items() if r[0] == apple)
    ahead = sum(p for r, p in table.items() if r.index(apple) < r.index(plum))
    assert answer_of("01.1") == pytest.approx((first, ahead, ahead / (1 - ahead)))

    three = np.exp([1.2, 0.4, 0.9])
    joint = np.exp([answer_of("01.2"), 0.9])
    assert joint[1] / joint.sum() == pytest.approx(three[2] / three.sum())

    gradient = reference.log_likelihood_gradient(np.log([1, 1, 2]), [2, 0, 1])
    assert answer_of("02.1") == pytest.approx(tuple(gradient))

    information = reference.pld_hessian([0.0, 0.0], [0.0, 0.0], 0, weights="one-hot")[0, 0]
    assert answer_of("02.4") == pytest.approx(1 / (information * 0.1**2))

    shares = [Fraction(4, 8), Fraction(1, 4), Fraction(2, 3), Fraction(1)]
    weights = [Fraction(w, 20) for w in (3, 10, 5, 2)]
    bill = -sum(float(w) * log(p) for w, p in zip(weights, shares, strict=True))
    assert answer_of("03.1") == pytest.approx(bill)

    rest = 101 - 1
    s, t = (np.log([p, *[(1 - p) / rest] * rest]) for p in (0.8, 0.6))
    assert answer_of("03.2") == pytest.approx(reference.pld_gradient(s, t, 0)[0])


def test_suspects_are_those_of_the_notebook() -> None:
    cells = read(FOLDER / "solutions" / "11_check_your_own.ipynb")["cells"]
    shown = ["".join(o.get("text", "")) for c in cells for o in c.get("outputs", [])]
    named = "".join(f"{letter} ['{name}']\n" for letter, name in GUILTY.items())
    assert named in shown


def test_a_mistake_is_named_although_it_also_overflows() -> None:
    def never_taken_away(scores: Any, ranking: Any) -> float:
        with np.errstate(all="ignore"):
            worths = np.exp(np.asarray(scores, float))
            return float(np.prod((worths / worths.sum())[list(ranking)]))

    with pytest.raises(NotYet) as caught:
        check("01.3 chain of choices", never_taken_away)
    assert caught.value.mistake is not None
    assert "nan or inf came out" in str(caught.value)
