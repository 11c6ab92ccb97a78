"""Lecture slides out of the notebooks: headings, formulas, lists and pictures; prose to the notes.

    npm install --prefix build/slides reveal.js@5 mathjax@3
    python book/teaching/make_slides.py build/slides
    python -m http.server --directory build/slides

The second line needs no network, and neither do the slides. Which cell begins a slide stands in
the notebooks' own metadata (`slideshow.slide_type`), so `jupyter nbconvert --to slides` works too;
this script cuts the markdown cells finer. Press S in the browser for the speaker notes.
"""

import argparse
import re
from copy import deepcopy
from pathlib import Path

import nbformat
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parents[1] / "notebooks"
DECKS = ("01", "02", "03", "04", "05", "06", "07", "11")
SHORT_PARAGRAPH = 25  # words; a longer one goes to the speaker notes
LONG_CODE = 12  # lines that are not blank; of a longer cell only the output is shown
CROWD = 20  # lines of code and output; beyond, the output gets a slide of its own
ANSWER = re.compile(r"<details>.*?</details>", re.DOTALL)
NOT_PROSE = re.compile(r"#|> |\$\$|\||[-*] |\d+\. |```|<")


def blocks(source: str) -> list[str]:
    """The blocks of a markdown cell: headings, paragraphs, formulas, lists, tables, quotations."""
    source = re.sub(r"\[([^\]]*)\]\(\d\d_\w+\.ipynb\)", r"\1", source)  # none lies beside slides
    source = re.sub(r"^(#+ .*)$", r"\n\1\n", source, flags=re.MULTILINE)
    return [block for block in re.split(r"\n\s*\n", source) if block.strip()]


def lean(cell: NotebookNode) -> list[NotebookNode]:
    """One markdown cell as several: slides, and speaker notes with the long paragraphs."""
    kind = cell.metadata.slideshow.slide_type
    if kind in ("skip", "notes"):
        return [cell]
    parts = blocks(ANSWER.sub("", cell.source))
    headings = [i for i, block in enumerate(parts) if is_heading(block)]
    shown: list[tuple[str, list[str]]] = [(kind, [])]
    notes = ANSWER.findall(cell.source)
    for i, block in enumerate(parts):
        if block.startswith("> **Predict first.**"):
            if any(not is_heading(b) and not is_prose(b) for b in shown[-1][1]):
                shown.append(("subslide", []))
            shown[-1][1].append(block)
            shown.append(("subslide", []))
        elif is_prose(block) and ((headings and i < headings[0]) or is_long(block)):
            notes.append(block)
        else:
            if i in headings and not all(map(is_heading, shown[-1][1])):
                shown.append(("slide" if block.startswith("## ") else "subslide", []))
            shown[-1][1].append(block)
    cells = [markdown(kind, content) for kind, content in shown if content]
    return [*cells, markdown("notes", notes)] if notes else cells


def is_heading(block: str) -> bool:
    """Of any level."""
    return block.startswith("#")


def is_prose(block: str) -> bool:
    """A paragraph: no heading, formula, list, table, quotation or code."""
    return not NOT_PROSE.match(block)


def is_long(block: str) -> bool:
    """Too long to be read from a wall; what the opening cell promises is long except the lesson."""
    if block.startswith("**You ") or block.startswith("**Time**"):
        return not block.startswith("**You will learn**")
    return len(block.split()) > SHORT_PARAGRAPH


def markdown(kind: str, content: list[str]) -> NotebookNode:
    """A markdown cell that begins a slide of this kind, or goes to the notes."""
    metadata = {"slideshow": {"slide_type": kind}}
    return new_markdown_cell("\n\n".join(content), metadata=metadata)


def fitted(cell: NotebookNode) -> list[NotebookNode]:
    """One code cell as one slide or two: no source of pictures, no long source, no crowd."""
    code = [line for line in cell.source.splitlines() if line.strip()]
    printed = "".join(output.get("text", "") for output in cell.outputs).splitlines()
    data = [kind for output in cell.outputs for kind in output.get("data", {})]
    hidden = deepcopy(cell)
    hidden.metadata["transient"] = {"remove_source": True}
    if "image/png" in data or len(code) > LONG_CODE:
        return [hidden]
    if len(code) + len(printed) > CROWD or "text/html" in data:
        hidden.id += "-output"
        hidden.metadata.slideshow.slide_type = "subslide"
        cell.outputs = []
        return [cell, hidden]
    return [cell]


def slides(path: Path) -> str:
    """A notebook as one page of reveal.js slides."""
    notebook = nbformat.read(path, as_version=4)
    cells = []
    for cell in notebook.cells:
        cells += lean(cell) if cell.cell_type == "markdown" else fitted(cell)
    notebook.cells = cells
    exporter = SlidesExporter(
        template_file=str(HERE / "slides.html.j2"),
        reveal_url_prefix="node_modules/reveal.js",
        reveal_theme="white",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})[0]


def main() -> None:
    """Write one `.slides.html` a notebook."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the slides go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for deck in DECKS:
        (path,) = NOTEBOOKS.glob(f"{deck}_*.ipynb")
        target = folder / f"{path.stem}.slides.html"
        target.write_text(slides(path), encoding="utf-8")
        print(target)
    if not (folder / "node_modules" / "reveal.js").exists():
        print(f"still to do: npm install --prefix {folder} reveal.js@5 mathjax@3")


if __name__ == "__main__":
    main()
