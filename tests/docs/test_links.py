"""Links between the files of the repository lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.support.notebooks import read_prose

ROOT = Path(__file__).parents[2]
SOURCES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("notebooks/**/*.ipynb")),
    *sorted(ROOT.glob("book/*.md")),
    *sorted(ROOT.glob("book/teaching/*.md")),
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", read_prose(path))
    assert [t for t in targets if "://" not in t and not (path.parent / t).exists()] == []


def test_readme_has_links() -> None:
    assert "](notebooks/" in read_prose(ROOT / "README.md")
