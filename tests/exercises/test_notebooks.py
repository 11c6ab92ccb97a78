"""The exercise notebooks: the solved ones, and the student's versions made from them."""

import importlib.util
import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from pld_edu.exercises import NOTEBOOKS, NotYet, exercises
from pld_edu.exercises.check_your_own import WRONG_LOSSES

FOLDER = Path(__file__).parents[2] / "notebooks" / "exercises"
SOLVED = sorted((FOLDER / "solutions").glob("*.ipynb"))


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
    assert [n for n in NOTEBOOKS if exercises(n)] == [path.stem[:2] for path in SOLVED]
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
    assert headings == [f"## {e.heading}" for e in known]
    titles = [checked_title(source) for source in sources(notebook, "code")]
    assert [title for title in titles if title] == [e.title for e in known]

    levels, times = zip(*(e.heading.split(" · ")[1:] for e in known), strict=True)
    minutes = sum(int(time.split()[0]) for time in times)
    opening = sources(notebook, "markdown")[0]
    assert opening.startswith(f"# {solved.stem[:2]} · ")
    assert f"**Time** ~{minutes} minutes for {len(known)} exercises" in opening
    assert list(levels) == sorted(levels, key=["warm-up", "core", "challenge"].index)


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


def test_each_solution_says_why_in_two_sentences(solved: Path) -> None:
    blocks = "\n".join(sources(read(solved), "code")).split("### BEGIN SOLUTION\n")[1:]
    reasons = []
    for block in blocks:
        comments = re.match(r"(?: *# .*\n)*", block)[0]
        reasons.append(len(re.findall(r"[\w%)][.;](?=\s|$)", comments)))
    assert sum(count >= 2 for count in reasons) >= len(exercises(solved.stem[:2]))


def test_students_version_fails_each_check(solved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    monkeypatch.chdir(FOLDER)
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


def test_wrong_losses_are_those_of_the_notebook() -> None:
    cells = read(FOLDER / "solutions" / "11_check_your_own.ipynb")["cells"]
    shown = ["".join(o.get("text", "")) for c in cells for o in c.get("outputs", [])]
    named = "".join(f"{letter} ['{name}']\n" for letter, (name, _) in WRONG_LOSSES.items())
    assert named in shown
