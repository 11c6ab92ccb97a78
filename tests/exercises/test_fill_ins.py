"""The blanks of the lessons: the answer that a lesson folds away is right, and it runs with them.

That a wrong answer is refused, by name, is in `test_kinds`: fill-ins are among its exercises.
"""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from pld_edu.exercises import check
from tests.support import notebooks as look
from tests.support.exercises import FILL_INS

LESSONS = [
    path
    for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
    if any("fill-in" in look.tags(cell) for cell in look.read_cells(path))
]


def run(source: str, namespace: dict[str, Any]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(source, "<cell>", "exec"), namespace)
    return said.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_folded_answers_are_right(lesson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    monkeypatch.chdir(lesson.parent)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = look.read_cells(lesson)
    for cell, after in zip(cells, [*cells[1:], cells[-1]], strict=True):
        if cell["cell_type"] != "code":
            continue
        said = run(cell["source"], namespace)
        if "fill-in" in look.tags(cell):
            assert said.endswith(": no answer yet\n")
            (answer,) = re.findall(r"^```python\n(.*?)^```", after["source"], re.M | re.S)
            checks = cell["source"][cell["source"].index("check(") :]
            assert run(answer + checks, namespace).startswith("Right: "), answer
    plt.close("all")


@pytest.mark.parametrize("blank", FILL_INS, ids=lambda blank: blank.number)
def test_unanswered_is_no_error(blank: Any, capsys: pytest.CaptureFixture[str]) -> None:
    check(blank.title, ...)
    assert capsys.readouterr().out == f"{blank.title}: no answer yet\n"
