"""The teaching guide: its cells exist, its minutes add up, its numbers are the reference's."""

import importlib.util
import io
import json
import re
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from nbformat import read

from pld_edu import reference
from pld_edu.check import check_loss
from pld_edu.results.comparison import by_setting, compare, paired_difference
from pld_edu.results.methods import Setting
from tests.support.notebooks import read_cells, read_prose

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "book" / "teaching"
PAGES = sorted(GUIDE.glob("*.md"))
SCHEDULES = ["lecture_1", "lecture_2", "lab"]
LINK = re.compile(r"\]\(([^)#\s]+\.ipynb)(?:#([^)\s]+))?\)(?:: (c\d\d(?:, c\d\d)*))?")
ROW = re.compile(r"^\| (\d+)\u2013(\d+) \|(.*)$", re.M)
WORDS_A_MINUTE, PICTURE, PREDICTION, CODE = 130, 1.5, 3.0, 0.5


def text(page: str) -> str:
    return (GUIDE / f"{page}.md").read_text(encoding="utf-8")


@cache
def cells(link: str) -> dict[str, dict]:
    return {cell["id"]: cell for cell in read_cells(GUIDE / link)}


@cache
def anchors(link: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", read_prose(GUIDE / link), re.M)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower().replace(" ", "-")) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_headings_and_cells(page: Path) -> None:
    for link, anchor, shown in LINK.findall(page.read_text(encoding="utf-8")):
        assert not anchor or anchor in anchors(link), anchor
        assert set(shown.split(", ")) - {""} <= set(cells(link)), (link, shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_cells_are_counted_from_the_top(page: Path) -> None:
    for link, _, shown in LINK.findall(page.read_text(encoding="utf-8")):
        for name in filter(None, shown.split(", ")):
            assert list(cells(link)).index(name) + 1 == int(name[1:]), (link, name)


@pytest.mark.parametrize("page", ["lecture_1", "lecture_2"])
def test_lectures_show_nothing_that_the_slides_skip(page: str) -> None:
    for link, _, shown in LINK.findall(text(page)):
        for name in filter(None, shown.split(", ")):
            slideshow = cells(link)[name]["metadata"].get("slideshow", {})
            assert slideshow.get("slide_type") != "skip", (link, name)


def minutes_by_count(row: str) -> float:
    """What a row of a schedule takes if nobody touches the board."""
    total = 0.0
    for link, _, shown in LINK.findall(row):
        for cell in (cells(link)[name] for name in shown.split(", ") if name):
            if cell["cell_type"] == "markdown":
                prose = re.sub(
                    r"<details>.*?</details>|\$\$.*?\$\$", "", cell["source"], flags=re.S
                )
                prose = re.sub(r"\$.*?\$", "x", prose)
                total += len(re.findall(r"[A-Za-z][\w'\u2019-]*", prose)) / WORDS_A_MINUTE
                total += PREDICTION * ("> **Predict first.**" in prose)
            else:
                draws = any("image/png" in output.get("data", {}) for output in cell["outputs"])
                total += PICTURE if draws else CODE
    return total


@pytest.mark.parametrize("page", SCHEDULES)
def test_ninety_minutes_without_a_hole_or_a_rush(page: str) -> None:
    now = 0
    for start, end, row in ROW.findall(text(page)):
        assert int(start) == now
        now = int(end)
        assert minutes_by_count(row) <= 0.8 * (now - int(start)), (start, minutes_by_count(row))
    assert now == 90


@pytest.mark.parametrize(
    ("page", "said"), [("lecture_1", "49 of the 90"), ("lecture_2", "49 of the 90")]
)
def test_count_is_the_one_of_the_page(page: str, said: str) -> None:
    assert said in text(page)
    counted = sum(minutes_by_count(row) for _, _, row in ROW.findall(text(page)))
    assert counted == pytest.approx(int(said[:2]), abs=1.5)


def test_goals_are_taught_and_asked_where_the_table_says() -> None:
    goals = re.findall(r"^\| G\d \|.*\| (.*) \| (.*) \|$", text("index"), re.M)
    assert len(goals) == 9
    for taught, asked in goals:
        if minute := re.fullmatch(r"(lecture \d|lab), minute (\d+)", taught):
            rows = ROW.findall(text(minute[1].replace(" ", "_")))
            assert minute[2] in [start for start, _, _ in rows]
        for question in re.findall(r"\d", asked):
            assert f"(question-{question})=" in text("exam")


def test_every_misconception_has_question_answer_and_cell() -> None:
    sections = text("misconceptions").split("\n### ")[1:]
    assert len(sections) == 14
    for section in sections:
        assert re.findall(r"^\*\*(.*?)\.\*\*", section, re.M) == [
            "Ask",
            "You hear",
            "It is",
            "Show",
        ]
        assert LINK.search(section)


T, S, DOG = np.log([1, 2, 3, 4]), np.log([1, 3, 6, 2]), 2  # the Shiba Inu


def test_numbers_of_the_misconceptions() -> None:
    page = text("misconceptions")
    push = -reference.pld_gradient(S, T, DOG)
    assert f"13/60 = {push[3]:.3f}, dog 3/20 = {push[2]:.3f}" in page
    assert np.allclose(push[[2, 3]], [3 / 20, 13 / 60])
    heavy = reference.pld_loss(S, T, DOG, weights=[1.0, 0.4, 0.2, 0.1])
    assert f"{heavy:.3f} instead of {reference.pld_loss(S, T, DOG):.3f}" in page
    as_kd = 4 * reference.pld_loss(S / 2, T, DOG, temperature=2.0)
    at_two = reference.pld_loss(S, T, DOG, temperature=2.0)
    assert f"Is the loss {at_two:.3f} or {as_kd:.3f}?" in page
    cold = reference.pld_loss(S, T, DOG, temperature=1e-3)
    assert cold == pytest.approx(np.log(3))
    assert f"$\\ln 3 = {cold:.3f}$" in page
    copy = reference.pld_gradient([1, 0.5, -1], [1, 0.5, -1], 0)
    assert f"$({copy[0]:.3f}, {copy[1]:.3f}, {copy[2]:.3f})$" in page


def test_points_add_up_to_sixty() -> None:
    questions = re.findall(
        r"^## \d · [^\n]*\((\d+) points\)\n(.*?)(?=^\(question|\Z)", text("exam"), re.M | re.S
    )
    assert [sum(map(int, re.findall(r"^\d\. \((\d+)\)", q, re.M))) for _, q in questions] == [
        int(points) for points, _ in questions
    ]
    assert sum(int(points) for points, _ in questions) == 60


def test_question_1() -> None:
    t, s, elm = np.log([5, 3, 2]), np.log([4, 2, 2]), 1
    ranking = reference.teacher_ranking(t, elm)
    assert ranking.tolist() == [1, 0, 2]
    assert np.allclose(reference.rank_weights(t, ranking), [0.3, 0.5, 0.2])
    assert f"**{reference.pld_loss(s, t, elm):.3f}**" in text("exam_answers")
    push = -reference.pld_gradient(s, t, elm)
    assert np.allclose(push, [1 / 60, 9 / 40, -29 / 120])
    ce = -reference.pld_gradient(s, t, elm, weights="one-hot")
    assert np.allclose(ce, [-1 / 2, 3 / 4, -1 / 4])
    assert np.isclose(push[1], 0.3 * ce[1])
    cold = reference.rank_weights(t, ranking, temperature=0.5)
    assert np.allclose(cold, np.array([9, 25, 4]) / 38)
    assert f"**{reference.pld_loss(s, t, elm, temperature=0.5):.3f}**" in text("exam_answers")


def programs() -> dict:
    scope: dict = {"torch": torch}
    for fence in re.findall(r"```python\n(.*?)```", text("exam"), re.S):
        exec(fence, scope)
    return scope


@pytest.mark.parametrize(
    ("name", "mistakes"),
    [
        ("ann", ["weights-not-permuted"]),
        ("bob", []),
        ("cyd", ["prefix-sums"]),
        ("dee", ["student-temperature", "temperature-squared"]),
    ],
)
def test_question_3(name: str, mistakes: list[str]) -> None:
    report = check_loss(programs()[name])
    assert report.passed == (not mistakes)
    assert [cause.name for cause in report.causes if cause.kind == "mistake"] == mistakes


def test_question_3_exceptions() -> None:
    s, t, y = torch.tensor([[0.3, -1.0, 2.0]]), torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([0])
    right = reference.pld_loss(s.numpy(), t.numpy(), y.numpy(), temperature=1.0)
    assert programs()["ann"](s, t, y).item() == pytest.approx(right, rel=1e-6)
    s, t, y = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 2.0, -1.0]]), torch.tensor([2])
    assert programs()["dee"](s, t, y).item() == pytest.approx(0.2620399709, rel=1e-6)


def test_question_4() -> None:
    assert f"{np.log1p(np.exp(-30)):.1e}" == "9.4e-14"
    s = torch.tensor([30.0, 0.0])
    assert (s.logsumexp(0) - s[0]).item() == 0
    assert np.spacing(np.float32(30)) == pytest.approx(1.9e-6, rel=0.01)
    assert 10 < np.exp(-30) / np.spacing(30.0) < 100  # one or two digits in float64
    behind = torch.tensor([0.0, 60.0], dtype=torch.float64, requires_grad=True)
    loss = -(behind.softmax(0)[0] + 1e-10).log()
    loss.backward()
    assert f"{loss.item():.2f}" == "23.03"
    assert abs(behind.grad[0].item()) < 1e-15


def test_question_5_is_the_record() -> None:
    results = ROOT / "notebooks" / "results"
    top1 = {}
    for name in ("mnist1d", "mnist1d-slow"):
        rows = json.loads((results / name / "cnn-mlp32" / "rows.json").read_text())
        (pld,) = [line for line in compare(rows) if line.setting.method == "pld" and line.picked]
        top1[name] = by_setting(rows, "top1"), pld.setting
    first, slow = top1["mnist1d"], top1["mnist1d-slow"]
    ce = Setting("ce", None)
    assert (first[1].temperature, slow[1].temperature) == (1.0, 2.0)

    def said(students, baseline) -> bool:
        number = f"{paired_difference(students, baseline):+.2f}"
        return number.replace("-", "\N{MINUS SIGN}") in text("exam")

    assert said(first[0][first[1]], first[0][ce])
    assert said(slow[0][slow[1]], slow[0][ce])
    assert said(slow[0][slow[1]], first[0][ce])
    means = [np.mean(values[ce]) for values in (first[0], slow[0])]
    assert all(f"| {mean:.2f} |" in text("exam") for mean in means)
    assert f"{means[0] - means[1]:.2f} points above" in text("exam_answers")
    teacher = json.loads((results / "mnist1d" / "cnn-mlp32" / "teacher.json").read_text())
    (at_1,) = [at for at in teacher["temperatures"] if at["temperature"] == 1]
    assert f"{at_1['mean_label_weight']:.3f}" == "0.990"
    assert f"{at_1['cosine_to_ce']:.4f}" == "0.9998"


def test_another_exam_prints_what_it_says() -> None:
    code, output = re.findall(r"```(?:python|text)\n(.*?)```", text("exam_answers"), re.S)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue().split() == output.split()


def make_slides() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_slides", GUIDE / "make_slides.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DECKS = sorted((ROOT / "notebooks").glob("0[1-7]_*.ipynb")) + sorted(ROOT.glob("notebooks/11_*"))


@pytest.mark.slow
@pytest.mark.parametrize("deck", DECKS, ids=lambda path: path.stem)
def test_slides_need_no_other_host_and_keep_the_answer_back(deck: Path) -> None:
    slides = make_slides()
    page = slides.slides(deck)
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(?:https?:)?//", page) == []
    on_the_wall = re.sub(r"<aside.*?</aside>", "", page, flags=re.S)
    assert "<details>" not in on_the_wall
    predictions = [part for part in on_the_wall.split("<section") if "Predict first." in part]
    assert predictions
    assert not any("jp-OutputArea" in part or "<img" in part for part in predictions)


@pytest.mark.parametrize("deck", DECKS, ids=lambda path: path.stem)
def test_every_slide_shows_something(deck: Path) -> None:
    slides = make_slides()
    for cell in read(deck, as_version=4).cells:
        kind = cell.metadata.slideshow.slide_type
        if cell.cell_type == "markdown" and kind in ("slide", "subslide"):
            assert slides.lean(cell)[0].metadata.slideshow.slide_type == kind, cell.id
