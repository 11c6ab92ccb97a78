"""What nbval does not look at: the house rules, and that every cell was run."""

from pathlib import Path

import pytest

from tests.support.notebooks import read_cells, read_prose

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_cell_was_run_without_a_word_on_stderr(notebook: Path) -> None:
    for cell in read_cells(notebook, "code"):
        assert cell["execution_count"] is not None
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"


def test_nothing_is_hidden_from_nbval(notebook: Path) -> None:
    assert "nbval" not in notebook.read_text(encoding="utf-8").lower()


def test_opening_and_prediction(notebook: Path) -> None:
    opening = read_cells(notebook, "markdown")[0]["source"]
    assert opening.startswith(f"# {notebook.stem[:2]} · ")
    for promise in ("**You will** ", "**You will learn** ", "**You need** ", "**Time** "):
        assert promise in opening
    assert read_prose(notebook).count("> **Predict first.**") == 1
