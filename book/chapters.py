"""The repository's notebooks as chapters of the book.

Sphinx reads nothing outside its source folder, so the notebooks are copied into it (git ignores the
copy). Links stay as they are in the files, where they serve Jupyter and the repository's own
pages; on their way into the book they are turned to the chapter, or to the repository.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

BOOK = Path(__file__).parent
ROOT = BOOK.parent
COPY = BOOK / "notebooks"
Cell = dict[str, Any]
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)(?=[)#])")


def setup(app: Sphinx) -> dict[str, bool]:
    """Copy the notebooks, and have every page pass through here when it is read or written."""
    copy_notebooks()
    app.connect("source-read", read)
    app.connect("html-page-context", say_where_the_source_is, priority=100)
    return {"parallel_read_safe": True}


def copy_notebooks() -> None:
    """Make the copy equal to the original; a chapter that did not change keeps its time."""
    originals = {
        path.relative_to(ROOT / "notebooks"): path
        for path in (ROOT / "notebooks").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    }
    for copy in COPY.rglob("*.ipynb"):
        if copy.relative_to(COPY) not in originals:
            copy.unlink()
    for name, path in originals.items():
        copy = COPY / name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn the links of a page; to a notebook, add how to run it and where to practise."""
    if docname.startswith("notebooks/"):
        notebook = json.loads(source[0])
        for cell in markdown_cells(notebook):
            cell["source"] = turn_links("".join(cell["source"]), docname, address(app, "blob"))
        if "/solutions/" in docname:
            title = notebook["cells"][0]
            title["source"] = title["source"].replace("Exercises", "Solutions", 1)
        notebook["cells"].insert(1, markdown_cell("run-it", how_to_run(app, docname)))
        notebook["cells"] += where_to_practise(docname)
        source[0] = json.dumps(notebook)
    else:
        url = app.config.html_theme_options["repository_url"]
        text = source[0].replace("{{ repository }}", url)
        source[0] = turn_links(text, docname, address(app, "blob"))


def address(app: Sphinx, view: str) -> str:
    """The repository's public address, as a folder that paths can be appended to."""
    options = app.config.html_theme_options
    return f"{options['repository_url']}/{view}/{options['repository_branch']}"


def turn_links(text: str, docname: str, repository: str) -> str:
    """Turn relative links that hold in the repository into links that hold in the book."""
    there = (BOOK / docname).parent
    here = (ROOT / docname).parent if docname.startswith("notebooks/") else there

    def turn(link: re.Match[str]) -> str:
        target = (here / link[1]).resolve()
        if not target.exists():
            return link[1]  # not a file's name; Sphinx complains if it was meant as one
        if target.suffix == ".ipynb" and target.is_relative_to(ROOT / "notebooks"):
            target = COPY / target.relative_to(ROOT / "notebooks")
        elif not target.is_relative_to(BOOK):
            return f"{repository}/{target.relative_to(ROOT).as_posix()}"
        return Path(os.path.relpath(target, there)).as_posix()

    return LINK.sub(turn, text)


def markdown_cells(notebook: dict[str, Any]) -> list[Cell]:
    """The cells that hold prose."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def markdown_cell(name: str, text: str) -> Cell:
    """A new cell of prose."""
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def how_to_run(app: Sphinx, docname: str) -> str:
    """A closed box: download, Colab and Binder, and what Colab wants first."""
    folder, name = docname.rsplit("/", 1)
    options = app.config.html_theme_options
    url, branch = options["repository_url"], options["repository_branch"]
    repository = url.removeprefix("https://github.com/")
    up = "../" * docname.count("/")
    binder = f"https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{docname}.ipynb"
    colab = f"https://colab.research.google.com/github/{repository}/blob/{branch}/{docname}.ipynb"
    return f"""\
:::{{dropdown}} Run this notebook
- On your machine: {{download}}`download it <{name}.ipynb>`;
  [how to install what it needs]({up}run_it.md).
- In a browser, nothing to install: [open it in Binder]({binder}).
- In a browser, with a Google account: [open it in Colab]({colab}), put this into a first cell and
  run it once:

```text
!git clone --quiet --depth 1 {url} && pip install --quiet "./{repository.split("/")[1]}[distill]"
%cd {repository.split("/")[1]}/{folder}
```
:::
"""


def where_to_practise(docname: str) -> list[Cell]:
    """A last cell that leads to the exercises of a chapter, if it has some."""
    name = docname.removeprefix("notebooks/") + ".ipynb"
    if not (ROOT / "notebooks" / "exercises" / name).exists():
        return []
    text = f"**Practise:** [the exercises of this chapter](exercises/{name}) mark themselves."
    return [markdown_cell("practise", text)]


def say_where_the_source_is(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Edit links lead to the original, not to the copy."""
    context["doc_path"] = "" if pagename.startswith("notebooks/") else "book"
