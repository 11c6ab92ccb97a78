"""What the README says is so."""

import base64
import io
import json
import math
import re
import statistics
from contextlib import redirect_stdout
from importlib.resources import files
from pathlib import Path

import pytest

from pld_edu.distill.experiment import FAIR
from pld_edu.results.draws import report
from tests.support.notebooks import read_cells

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "notebooks" / "results"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def fences(text: str) -> list[str]:
    return re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_snippet_prints_the_number_behind_it() -> None:
    (snippet,) = fences(README.split("\n## ")[0])
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(snippet, {})
    assert printed.getvalue().strip() == snippet.rsplit("# ", 1)[1].strip()


@pytest.mark.parametrize("title", ["Run it", "Test it"])
def test_one_command_line_a_section(title: str) -> None:
    (command,) = fences(section(title))
    assert len(command.splitlines()) == 1


def test_card_is_the_one_of_the_package() -> None:
    assert (files("pld_edu") / "which_pld.md").read_text(encoding="utf-8") in README


def test_picture_is_the_one_that_notebook_00_computes() -> None:
    pictures = [
        base64.b64decode(output["data"]["image/png"])
        for cell in read_cells(ROOT / "notebooks" / "00_start_here.ipynb", "code")
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]
    assert (ROOT / "book" / "images" / "one_loss.png").read_bytes() in pictures


def test_table_is_the_one_of_the_recorded_rows() -> None:
    rows = json.loads((RESULTS / "mnist1d-fair" / "rows.json").read_text())
    assert report(rows, FAIR.primary) in README


def test_numbers_of_table_6_are_those_of_the_recorded_rows() -> None:
    rows = json.loads((RESULTS / "mnist1d-weights" / "rows.json").read_text())
    means = {}
    for weights in ("uniform", "position", "teacher", "label"):
        top1 = [row["top1"] for row in rows if row["weights"] == weights]
        means[weights] = f"{sum(top1) / len(top1):.0f}"
    sentence = re.search(
        r"teacher's: (\d+), (\d+)\s+and (\d+)%\).*?not behind, with (\d+)%", README, re.S
    )
    assert sentence is not None
    assert list(sentence.groups()) == list(means.values())


def test_points_on_cifar100_are_those_of_the_recorded_rows() -> None:
    folder = ROOT / "notebooks" / "results" / "cifar100" / "resnet20-resnet8"
    found: dict[tuple[str, float | None], list[float]] = {}
    for row in json.loads((folder / "rows.json").read_text()):
        found.setdefault((row["method"], row["temperature"]), []).append(row["top1"])
    assert all(len(values) == 3 for values in found.values())
    top1 = {setting: statistics.mean(values) for setting, values in found.items()}
    pld, kd, dist = (top1[method, 4.0] for method in ("pld", "kd", "dist"))
    assert "PLD is 4.2 points behind DIST" in " ".join(README.split())
    assert round(dist - pld, 1) == 4.2
    # 97.5% for each of two: 6.2053 is the t quantile of 1 - 0.025 / 2 for two degrees of freedom.
    for rival, seen in (("kd", False), ("dist", True)):
        lead = [a - b for a, b in zip(found["pld", 4.0], found[rival, 4.0], strict=True)]
        half = 6.2053 * statistics.stdev(lead) / math.sqrt(3)
        assert (abs(statistics.mean(lead)) > half) == seen
    cool = top1["pld", 1.0]
    assert max(abs(cool - kd), abs(cool - top1["dkd", 4.0])) < 0.15
    assert round(cool - top1["ce", None], 1) == 4.3
    assert 2.0 < dist - cool < 2.5
    assert max(top1, key=top1.__getitem__) == ("dist", 4.0)


def test_leads_in_known_worlds_are_those_that_notebook_10_prints() -> None:
    (name,) = (ROOT / "notebooks").glob("10_*.ipynb")
    printed = "".join(
        "".join(output.get("text", ""))
        for cell in read_cells(name, "code")
        for output in cell["outputs"]
    )
    lines = re.findall(r"^PLD - KD, (\w+) +T = (\d)  ([+-][\d.]+) .*?\]  (.*)$", printed, re.M)
    leads = {(teacher, int(tau)): (float(lead), end) for teacher, tau, lead, end in lines}
    assert len(leads) == 10
    sentence = re.search(r"by ([\d.]+) points at T = 1 and ([\d.]+) at\s+T = 4", README)
    assert sentence is not None
    for tau, number in zip((1, 4), sentence.groups(), strict=True):
        lead, end = leads["moody", tau]
        assert (f"{lead:.1f}", end) == (number, "PLD better")
    for teacher in ("exact", "saturated", "timid"):
        for tau in (1, 4):
            lead, end = leads[teacher, tau]
            assert -1.1 < lead < 0
            assert end != "PLD better"
