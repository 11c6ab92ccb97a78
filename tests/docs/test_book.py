"""The book without building it: what it names is there, and its addresses come from one place."""

import json
import re
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from scipy import stats

pytest.importorskip("sphinx")

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
PAGES = sorted(
    page
    for page in BOOK.rglob("*.md")
    if page.relative_to(BOOK).parts[0] not in ("_static", "generated", "notebooks")
)
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.M | re.S)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """Import one of the book's own modules."""
    monkeypatch.syspath_prepend(str(BOOK))
    monkeypatch.setattr(sys, "path", [*sys.path])

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    return load


def entries() -> set[str]:
    """What the tables of contents name, relative to the book's folder; may be patterns."""
    found = set()
    for page in PAGES:
        for block in TOCTREE.findall(page.read_text(encoding="utf-8")):
            for line in block.splitlines():
                if line and not line.startswith(":"):
                    found.add((page.parent / line).relative_to(BOOK).as_posix())
    return found


def test_every_notebook_and_every_page_is_in_a_table_of_contents():
    notebooks = [
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in (ROOT / "notebooks").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    ]
    pages = [page.relative_to(BOOK).with_suffix("").as_posix() for page in PAGES]
    assert len(notebooks) >= 10
    missing = [
        name
        for name in notebooks + pages
        if name != "index" and not any(fnmatch(name, entry) for entry in entries())
    ]
    assert missing == []


def test_every_public_module_has_its_place_in_the_api(module):
    names = {name.rsplit(".", 1)[0] for name in module("public_names").public_names()}
    text = "".join(page.read_text(encoding="utf-8") for page in (BOOK / "api").glob("*.md"))
    assert {"pld_edu.reference", "pld_edu.losses", "pld_edu.results.metrics"} <= names
    assert names == set(re.findall(r"^\.\. automodule:: (.+)\n   :members:$", text, re.M))


def test_welcome_shows_the_card_the_picture_and_the_snippet_of_the_readme():
    index = (BOOK / "index.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "```{include} ../pld_edu/which_pld.md\n" in index
    assert "](images/one_loss.png)" in index
    snippet = re.search(r"^```python\n.*?^```", readme, re.M | re.S)[0]
    assert snippet in index


def test_every_citation_has_an_entry_and_every_entry_is_cited():
    cited = set()
    for page in PAGES:
        for keys in re.findall(r"\{cite:[pt]\}`([^`]+)`", page.read_text(encoding="utf-8")):
            cited |= set(keys.split(","))
    bib = (BOOK / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{([^,]+),$", bib, re.M)
    assert len(keys) == len(set(keys))
    assert cited == set(keys)


def test_nothing_comes_from_another_host(module, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "somebody/elsewhere")
    conf = module("conf")
    for path in (conf.mathjax_path, *conf.html_css_files):
        assert (BOOK / "_static" / path).is_file()
    assert conf.nb_ipywidgets_js == {}
    assert conf.nb_execution_mode == "off"
    assert not re.search(r"@import|url\(|//", (BOOK / "_static" / "book.css").read_text())
    assert (BOOK / "_static" / "mathjax" / "LICENSE").is_file()


def test_one_variable_feeds_every_address(module, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "somebody/elsewhere")
    options = module("conf").html_theme_options
    app = SimpleNamespace(config=SimpleNamespace(html_theme_options=options))
    box = module("chapters").how_to_run(app, "notebooks/exercises/03_pld_from_scratch")
    path = "notebooks/exercises/03_pld_from_scratch.ipynb"
    colab, binder = "https://colab.research.google.com/github", "https://mybinder.org/v2/gh"
    assert f"{colab}/somebody/elsewhere/blob/main/{path})" in box
    assert f"{binder}/somebody/elsewhere/main?urlpath=lab/tree/{path})" in box
    assert "git clone --quiet --depth 1 https://github.com/somebody/elsewhere &&" in box
    assert "%cd elsewhere/notebooks/exercises\n" in box
    assert "](../../run_it.md)" in box


@pytest.mark.parametrize(
    ("docname", "link", "turned"),
    [
        ("notation", "../notebooks/00_start_here.ipynb", "notebooks/00_start_here.ipynb"),
        (
            "teaching/index",
            "../../notebooks/00_start_here.ipynb",
            "../notebooks/00_start_here.ipynb",
        ),
        ("notebooks/11_check_your_own", "../book/failure_modes.md", "../failure_modes.md"),
        ("notebooks/11_check_your_own", "00_start_here.ipynb", "00_start_here.ipynb"),
        ("contribute", "../README.md", "https://example.org/blob/main/README.md"),
        ("index", "https://arxiv.org/abs/2506.12542", "https://arxiv.org/abs/2506.12542"),
        ("index", "#which-pld", "#which-pld"),
        ("index", "nowhere.md", "nowhere.md"),
    ],
)
@pytest.mark.parametrize("anchor", ["", "#which-pld"])
def test_links_are_turned_from_the_repository_to_the_book(module, docname, link, turned, anchor):
    if link.startswith("#"):
        anchor = ""
    text = module("chapters").turn_links(
        f"see [it]({link}{anchor}).", docname, "https://example.org/blob/main"
    )
    assert text == f"see [it]({turned}{anchor})."


def test_results_are_computed_from_the_rows(module):
    folder = ROOT / "notebooks" / "results" / "mnist1d" / "cnn-mlp32"
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    recorded = module("recorded")
    lines = recorded.table(recorded.compare(rows)).splitlines()

    def top1(method):
        return {
            r["seed"]: r["top1"]
            for r in rows
            if r["method"] == method and r["temperature"] in (None, 1)
        }

    ce, pld = top1("ce"), top1("pld")
    lead = [pld[seed] - ce[seed] for seed in ce]
    low, high = stats.t.interval(0.95, len(lead) - 1, sum(lead) / len(lead), stats.sem(lead))
    shown = f"{sum(lead) / len(lead):+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "\N{MINUS SIGN}")
    (line,) = (line for line in lines if line.startswith("| PLD,&nbsp;T&nbsp;=&nbsp;1"))
    assert line.split(" | ")[2] == shown.replace(" ", "&nbsp;") + "<br>no difference seen"
