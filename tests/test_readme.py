"""What the README says is so."""

import base64
import io
import json
import re
from contextlib import redirect_stdout
from importlib.resources import files
from pathlib import Path

import pytest

from pld_edu.compare import compare
from pld_edu.report import comparison_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def fences(text: str) -> list[str]:
    return re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_snippet_prints_the_number_behind_it() -> None:
    (snippet,) = fences(README.split("\n## ")[0])
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(snippet, {})
    assert printed.getvalue().strip() == snippet.rsplit("# ", 1)[1].strip()


@pytest.mark.parametrize("title", ["Run it", "Test it"])
def test_one_command_line_a_section(title: str) -> None:
    (command,) = fences(section(title))
    assert len(command.splitlines()) == 1


def test_card_is_the_one_of_the_package() -> None:
    assert (files("pld_edu") / "which_pld.md").read_text(encoding="utf-8") in README


def test_local_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    missing = [t for t in targets if "://" not in t and not (ROOT / t.split("#")[0]).exists()]
    assert targets
    assert not missing


def test_picture_is_the_one_that_notebook_00_computes() -> None:
    notebook = json.loads((ROOT / "notebooks" / "00_start_here.ipynb").read_text(encoding="utf-8"))
    pictures = [
        base64.b64decode(output["data"]["image/png"])
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert (ROOT / "book" / "images" / "one_loss.png").read_bytes() in pictures


def test_table_is_the_one_of_the_recorded_rows() -> None:
    rows = ROOT / "notebooks" / "results" / "mnist1d" / "cnn-mlp32" / "rows.json"
    assert comparison_table(compare(json.loads(rows.read_text()))) in README
