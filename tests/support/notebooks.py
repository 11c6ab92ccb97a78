"""What a notebook's file holds."""

import json
from pathlib import Path
from typing import Any


def read_cells(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The cells, or those of a kind: ``markdown`` or ``code``; sources are joined."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = [cell | {"source": "".join(cell["source"])} for cell in cells]
    return [cell for cell in cells if kind in (None, cell["cell_type"])]


def read_prose(path: Path) -> str:
    """All Markdown of a notebook, or of a page."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n".join(cell["source"] for cell in read_cells(path, "markdown"))
