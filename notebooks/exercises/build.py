"""Make the student's notebooks from the solved ones: `python notebooks/exercises/build.py`.

The only source of an exercise notebook is `solutions/NN_name.ipynb`. In its code cells, what stands
between ``### BEGIN SOLUTION`` and ``### END SOLUTION`` (nbgrader's marks) is left out, and outputs
are cleared; links are turned, because the student's version lies one folder up. After a change,
run the solved notebook, then this:

    jupyter nbconvert --to notebook --execute --inplace notebooks/exercises/solutions/NN_name.ipynb
    python notebooks/exercises/build.py
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION\n?", re.M | re.S)
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)[^)#\s]+")


def stub(match: re.Match[str]) -> str:
    """What stands in the student's version: an error inside a function, else a comment."""
    indent = match[1]
    if indent:
        return f'{indent}# your code here\n{indent}raise NotImplementedError("your turn")\n'
    return "# your code here\n"


def turned(link: re.Match[str]) -> str:
    """A relative link of a solved notebook, as it reads one folder up."""
    return posixpath.normpath(posixpath.join("solutions", link[0]))


def student_version(solved: dict[str, Any]) -> dict[str, Any]:
    """The notebook without solutions and outputs.

    Parameters
    ----------
    solved : dict
        A notebook, as in its file.

    Raises
    ------
    ValueError
        A mark without its partner.
    """
    cells = []
    for cell in solved["cells"]:
        cell = dict(cell)
        if cell["cell_type"] == "code":
            source = SOLUTION.sub(stub, "".join(cell["source"]) + "\n").rstrip("\n")
            if re.search(r"### (BEGIN|END) SOLUTION", source):
                raise ValueError(f"cell {cell['id']} has a solution mark without its partner")
            cell |= {"source": source.splitlines(keepends=True)}
            cell |= {"outputs": [], "execution_count": None}
        else:
            source = LINK.sub(turned, "".join(cell["source"]))
            cell |= {"source": source.splitlines(keepends=True)}
        cells.append(cell)
    return solved | {"cells": cells}


def as_text(notebook: dict[str, Any]) -> str:
    """The file's content."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every student's notebook."""
    for path in sorted((FOLDER / "solutions").glob("*.ipynb")):
        solved = json.loads(path.read_text(encoding="utf-8"))
        (FOLDER / path.name).write_text(as_text(student_version(solved)), encoding="utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
