"""What a notebook's file holds, and what a lesson's reader has to do with it."""

import ast
import json
import re
from pathlib import Path
from typing import Any

Cell = dict[str, Any]

HIDDEN = {"hide-input", "remove-input"}
ANSWER = "<details><summary>Answer</summary>"
WORDS, FIGURE, LINES, FILL_IN, QUESTION = 180, 0.5, 24, 4.0, 1.5


def read_cells(path: Path, kind: str | None = None) -> list[Cell]:
    """The cells, or those of a kind: ``markdown`` or ``code``; sources are joined."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = [cell | {"source": "".join(cell["source"])} for cell in cells]
    return [cell for cell in cells if kind in (None, cell["cell_type"])]


def read_prose(path: Path) -> str:
    """All Markdown of a notebook, or of a page."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n".join(cell["source"] for cell in read_cells(path, "markdown"))


def tags(cell: Cell) -> set[str]:
    """The tags of a cell."""
    return set(cell["metadata"].get("tags", []))


def figures(cell: Cell) -> int:
    """How many pictures a code cell draws."""
    data = [kind for output in cell.get("outputs", []) for kind in output.get("data", {})]
    return sum(kind.startswith("image/") for kind in data)


def printed(cell: Cell) -> str:
    """What a code cell prints."""
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def count_asserts(cell: Cell) -> int:
    """How many assert statements a code cell holds, also inside of loops and functions."""
    return sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell["source"])))


def stated_minutes(path: Path) -> int | None:
    """The N of "about N minutes (estimate)" in the first cell; None if it is not there."""
    found = re.search(r"about (\d+) minutes \(estimate\)", read_cells(path)[0]["source"])
    return int(found[1]) if found else None


def count_words(prose: str) -> int:
    """Words of Markdown; a symbol or number of a formula between spaces counts as one."""
    prose = re.sub(r"^```.*?^```", "", prose, flags=re.M | re.S)
    prose = re.sub(r"\]\([^)]*\)|<[^>]+>", " ", prose)
    return len(re.findall(r"\S*\w\S*", prose))


def estimated_minutes(path: Path) -> int:
    """Minutes to read a lesson and to do what it asks, rounded to 5.

    180 words of Markdown a minute (folded answers too), half a minute per figure, a quarter of a
    minute per 6 lines of code in view, 4 minutes per fill-in, and 1.5 minutes per prediction or
    closing question, which are counted by their folded answers.
    """
    cells = read_cells(path)
    prose = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    fill_ins = sum("fill-in" in tags(cell) for cell in code)
    in_view = [cell["source"] for cell in code if not tags(cell) & (HIDDEN | {"fill-in"})]
    lines = sum(bool(line.strip()) for source in in_view for line in source.splitlines())
    pictures = sum(map(figures, code)) + prose.count("![")
    minutes = count_words(prose) / WORDS + FIGURE * pictures + lines / LINES
    minutes += FILL_IN * fill_ins + QUESTION * (prose.count("<details>") - fill_ins)
    return 5 * max(1, round(minutes / 5))
