"""The chapter on notation: its names are in the code, its symbols in the notebooks."""

import inspect
import re
from operator import attrgetter
from pathlib import Path

import pytest

import pld_edu
from tests.support.notebooks import read_prose

BOOK = Path(__file__).parents[2] / "book"
TEXT = (BOOK / "notation.md").read_text(encoding="utf-8")
SYMBOLS = TEXT.split("(symbols)=")[1].split("(letters-with-two-lives)=")[0]
ROWS = re.findall(r"^\| \$([^$]+)\$ \|.*\[\d\d\]\(([^)#]+)#[^)]*\) \|$", SYMBOLS, re.M)
ARGUMENTS = re.findall(r"`(\w+)`(?: and `(\w+)`)? of `([\w.]+)`", TEXT)
NAMES = set(re.findall(r"`((?:reference|losses)\.[\w.]+)`", TEXT))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_name_is_in_the_code(name: str) -> None:
    assert callable(attrgetter(name)(pld_edu))


@pytest.mark.parametrize(("first", "second", "function"), sorted(set(ARGUMENTS)))
def test_argument_is_one_of_the_function(first: str, second: str, function: str) -> None:
    parameters = inspect.signature(attrgetter(function)(pld_edu)).parameters
    assert {first, second} - {""} <= set(parameters)


@pytest.mark.parametrize(("symbol", "notebook"), ROWS, ids=[symbol for symbol, _ in ROWS])
def test_symbol_is_used_in_its_notebook(symbol: str, notebook: str) -> None:
    prose = read_prose(BOOK / notebook)
    formulas = " ".join(a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", prose, re.S))
    assert re.search(rf"(?<![\\A-Za-z]){re.escape(symbol)}(?![A-Za-z])", formulas)


def test_one_symbol_one_row() -> None:
    symbols = [symbol for symbol, _ in ROWS]
    assert len(symbols) == len(set(symbols)) == SYMBOLS.count("\n| $")


def test_position_weights_overflow_where_the_chapter_says() -> None:
    with pytest.raises(OverflowError):
        2.0 ** (1025 - 1) - 1
    assert 2.0 ** (1024 - 1) - 1 > 0
    labels = [0]
    logits = [[0.0] * 1025]
    assert pld_edu.reference.position_list_mle(logits, logits, labels) > 0
