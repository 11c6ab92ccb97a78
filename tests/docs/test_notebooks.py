"""What nbval does not look at: the house rules, and that every cell was run.

A lesson whose first cell says "about N minutes (estimate)" keeps the rules of the course.
"""

from pathlib import Path
from typing import Any

import pytest

from pld_edu.exercises import NOTEBOOKS as CHAPTERS
from pld_edu.exercises import fill_ins
from tests.support import notebooks as look

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if look.stated_minutes(path) is not None]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def lesson(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_cell_was_run_without_a_word_on_stderr(notebook: Path) -> None:
    for cell in look.read_cells(notebook, "code"):
        assert cell["execution_count"] is not None
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"


def test_nothing_is_hidden_from_nbval(notebook: Path) -> None:
    assert "nbval" not in notebook.read_text(encoding="utf-8").lower()


def test_opening_and_prediction(notebook: Path) -> None:
    opening = look.read_cells(notebook, "markdown")[0]["source"]
    assert opening.startswith(f"# {notebook.stem[:2]} · ")
    if notebook in LESSONS:
        return
    for promise in ("**You will** ", "**You will learn** ", "**You need** ", "**Time** "):
        assert promise in opening
    assert look.read_prose(notebook).count("> **Predict first.**") == 1


def test_minutes_are_those_of_the_rule(lesson: Path) -> None:
    assert look.stated_minutes(lesson) == look.estimated_minutes(lesson)


def test_plumbing_is_out_of_sight(lesson: Path) -> None:
    for cell in look.read_cells(lesson, "code"):
        hidden = look.tags(cell) & look.HIDDEN
        assert bool(hidden) == cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        count, where = look.count_asserts(cell), (cell["id"], look.tags(cell))
        assert hidden or not count, where
        checked = f"checked: {count} statement{'s' * (count != 1)}\n"
        if "remove-input" in hidden and count:
            assert look.printed(cell) == checked, where
        elif "checked: " in look.printed(cell):
            pytest.fail(f"{where}: a cell that only asserts is remove-input")


def test_figures_can_be_heard(lesson: Path) -> None:
    for cell in look.read_cells(lesson, "code"):
        if look.figures(cell):
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) > 40, cell["id"]
            assert alt.endswith("."), cell["id"]


def fill_in_cells(lesson: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each fill-in with the cell after it."""
    cells = look.read_cells(lesson)
    pairs = zip(cells, [*cells[1:], {"cell_type": "code", "source": ""}], strict=True)
    return [(cell, after) for cell, after in pairs if "fill-in" in look.tags(cell)]


def test_fill_ins_are_unanswered_and_have_an_answer(lesson: Path) -> None:
    number = lesson.stem[:2]
    known = [blank.title for blank in fill_ins(number)] if number in CHAPTERS else []
    found = fill_in_cells(lesson)
    assert [look.printed(cell) for cell, _ in found] == [f"{t}: no answer yet\n" for t in known]
    for (cell, after), title in zip(found, known, strict=True):
        assert "..." in cell["source"]
        assert cell["source"].splitlines()[-1].startswith(f'check("{title}", ')
        assert after["cell_type"] == "markdown", title
        assert after["source"].startswith(look.ANSWER), title
        assert "```python\n" in after["source"], title
    others = [c for c in look.read_cells(lesson, "code") if "fill-in" not in look.tags(c)]
    assert not any("no answer yet" in look.printed(cell) for cell in others)
