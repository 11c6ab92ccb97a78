"""What nbval does not look at: links, the house rules, and that every cell was run."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[dict]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def text(path: Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_links_lead_somewhere(notebook: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", text(notebook))
    assert [t for t in targets if "://" not in t and not (notebook.parent / t).exists()] == []


def test_every_cell_was_run_without_a_word_on_stderr(notebook: Path) -> None:
    for cell in cells(notebook, "code"):
        assert cell["execution_count"] is not None
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"


def test_nothing_is_hidden_from_nbval(notebook: Path) -> None:
    assert "nbval" not in notebook.read_text(encoding="utf-8").lower()


def test_opening_and_prediction(notebook: Path) -> None:
    opening = "".join(cells(notebook, "markdown")[0]["source"])
    assert opening.startswith(f"# {notebook.stem[:2]} · ")
    for promise in ("**You will** ", "**You will learn** ", "**You need** ", "**Time** "):
        assert promise in opening
    assert text(notebook).count("> **Predict first.**") == 1
