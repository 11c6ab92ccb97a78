"""The page on architecture: its tree, its rule and its walks are those of the code."""

import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

import pld_edu

ROOT = Path(__file__).parents[2]
PACKAGE = Path(pld_edu.__file__).parent
PAGE = (ROOT / "book" / "architecture.md").read_text(encoding="utf-8")
ROOMS = {
    path.stem
    for path in PACKAGE.iterdir()
    if path.name != "__init__.py" and (path.suffix == ".py" or (path / "__init__.py").exists())
}
STEPS = re.findall(r"^\d+\. `([\w.]+)` in `(\w+/\w+\.py)`: ", PAGE, re.M)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_tree_is_that_of_the_folders() -> None:
    tree = re.search(r"^```text\n(.*?)^```", section("The tree"), re.M | re.S)[1]
    rooms = re.findall(r"^  (\S+)  ", tree, re.M)
    files = {room for room in rooms if room.endswith(".py")}
    assert {room.removesuffix("/").removesuffix(".py") for room in rooms} == ROOMS
    assert all((PACKAGE / room).is_file() == (room in files) for room in rooms)
    top = re.findall(r"^(\w+)/", tree, re.M)
    assert all((ROOT / folder).is_dir() for folder in top if folder != "pld_edu")


def test_rule_is_that_of_the_contracts() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section("The rule of imports"), re.M)
    written = {(room, other) for room, others in rows for other in re.findall(r"`(\w+)`", others)}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    held = {
        (importer.split(".")[1], room.split(".")[1])
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "protected"
        for room in contract["protected_modules"]
        for importer in contract["allowed_importers"]
    }
    assert written == held
    assert {room for room, _ in rows} == ROOMS - {"_files"}


def test_walks_are_there() -> None:
    assert len(STEPS) > 20


@pytest.mark.parametrize(("name", "file"), STEPS, ids=lambda part: part)
def test_steps_of_the_walks_are_where_they_are_said_to_be(name: str, file: str) -> None:
    text = (PACKAGE / file).read_text(encoding="utf-8")
    for part in name.split("."):
        assert re.search(rf"^ *(def|class) {part}\b", text, re.M)


def test_files_that_are_named_exist() -> None:
    named = re.findall(r"`((?:pld_edu|tests|notebooks|book)/[\w/.]+)`", PAGE)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
    inside = re.findall(r"`((?:check|results|reference|losses|distill)/\w+\.py)`", PAGE)
    assert [path for path in inside if not (PACKAGE / path).exists()] == []


MOVED = re.findall(
    r"^- `.+` → `([\w.]+)`$",
    (ROOT / "book" / "whats_new.md").read_text(encoding="utf-8"),
    re.M,
)


def test_moved_names_are_there() -> None:
    assert len(MOVED) > 20


@pytest.mark.parametrize("name", MOVED)
def test_what_moved_is_where_it_is_said_to_be(name: str) -> None:
    assert pkgutil.resolve_name(f"pld_edu.{name}") is not None
