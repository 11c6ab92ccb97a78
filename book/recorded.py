"""What was measured, in tables and figures: directives ``recorded``, ``draws``, ``benchmarks``.

Every number is computed from the files in `notebooks/results` while the book is built.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pld_edu.bench import report
from pld_edu.results import draws, plots, records, tables
from pld_edu.results.comparison import ComparisonRow, Interval, compare
from pld_edu.results.methods import Setting

BOOK = Path(__file__).parent
RESULTS = BOOK.parent / "notebooks" / "results"
FIGURES = BOOK / "generated"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("recorded", Recorded)
    app.add_directive("draws", Draws)
    app.add_directive("benchmarks", Benchmarks)
    return {"parallel_read_safe": True}


class Recorded(SphinxDirective):
    """``{recorded} mnist1d/*``: every finished run whose folder fits the pattern."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The runs as nodes; a sentence if there is none."""
        runs = sorted(path.parent for path in RESULTS.glob(f"{self.arguments[0]}/rows.json"))
        for run in runs:
            self.env.note_dependency(run / "rows.json")
        text = "\n\n".join(map(chapter, runs)) or "No such run is recorded yet."
        return self.parse_text_to_nodes(text)


class Draws(SphinxDirective):
    """``{draws} mnist1d-fair``: a comparison over draws of teacher and data."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Its report and its figure as nodes."""
        folder = RESULTS / self.arguments[0]
        self.env.note_dependency(folder / "rows.json")
        return self.parse_text_to_nodes(over_draws(folder))


class Benchmarks(SphinxDirective):
    """``{benchmarks}``: what `pld-edu bench` has measured, one machine after the other."""

    def run(self) -> list[nodes.Node]:
        """The measurements as nodes; a sentence if there are none."""
        files = sorted((RESULTS / "bench").glob("*.json"))
        for path in files:
            self.env.note_dependency(path)
        text = "\n\n".join(map(benchmark, files)) or "No measurement is recorded yet."
        return self.parse_text_to_nodes(text)


def over_draws(folder: Path) -> str:
    """A comparison over draws in Markdown."""
    rows, experiment = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("rows", "experiment")
    )
    primary = read_primary(experiment)
    caption = (
        "Top-1 minus that of cross-entropy, each method at the learning rate and temperature "
        "picked for it. Pale: one draw of teacher and data each. Below them: mean and 95% interval."
    )
    drawn = figure(folder.name, plots.over_draws(rows), caption)
    return f"```text\n{draws.report(rows, primary)}\n```\n\n{drawn}"


def read_primary(experiment: Mapping[str, Any]) -> list[tuple[Setting, Setting]]:
    """The comparisons that ``experiment.json`` names as chosen beforehand."""
    pairs = experiment.get("primary", [])
    return [(Setting(*first), Setting(*second)) for first, second in pairs]


def benchmark(path: Path) -> str:
    """One machine's measurements in Markdown."""
    result = json.loads(path.read_text(encoding="utf-8"))
    machine = f"{result['device']} ({result['processor']})"
    caption = (
        f"{machine}: time of forward and backward in cross-entropies, and the most "
        "memory held at a time, for each loss and shape. The tables hold the same numbers."
    )
    drawn = figure(f"bench-{path.stem}", plots.costs(result["rows"]), caption)
    tables = f"````{{dropdown}} The tables\n```text\n{report(result)}\n```\n````"
    return f"**{machine}**\n\n{drawn}\n\n{tables}"


def chapter(folder: Path) -> str:
    """One run in Markdown."""
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    experiment = json.loads((folder / "experiment.json").read_text(encoding="utf-8"))
    seeds = {row["seed"] for row in rows}
    name = "-".join(folder.relative_to(RESULTS).parts)
    title = f"{rows[0]['dataset']}: {rows[0]['teacher']} teaches {rows[0]['student']}"
    students = experiment["student_recipe"]
    if "screen" in experiment:  # its pick for each setting was used instead
        used = sorted({row["learning_rate"] for row in rows})
        students = students | {"learning_rate": " and ".join(f"{rate:g}" for rate in used)}
    opening = (
        f"**{title}.** Students: {experiment['train']:,} training samples, {recipe(students)}; "
        f"seeds: {len(seeds)}."
    )
    if len(seeds) == 1:
        return f"{opening}\n\n{without_intervals(rows)}"
    primary = read_primary(experiment)
    named = set(chain(*primary))
    parts = [opening]
    if primary:
        hits = records.read_hits(folder, len(seeds))
        parts.append(f"```text\n{tables.primary_table(rows, primary, hits).rstrip()}\n```")
    parts += [table(compare(rows, named)), tables.diverged(rows)]
    parts += diverged(folder / "diverged.json")
    parts.append(
        figure(
            f"{name}-comparison",
            plots.comparison(rows, named),
            f"Top-1 of every student of {title}. Pale: one student each. Below them: mean and "
            "95% interval. The grey line is the mean of cross-entropy.",
        )
    )
    curves = {(row["method"], row["temperature"]) for row in rows if row["method"] != "ce"}
    if min(Counter(method for method, _ in curves).values()) > 2:  # two points make no curve
        parts.append(
            figure(
                f"{name}-temperature",
                plots.temperature_curve(rows),
                f"Mean Top-1 of {title} against the temperature, on the test set (solid) and on "
                "held-out training data (dashed), which pick the temperature.",
            )
        )
    return "\n\n".join(parts)


def diverged(path: Path) -> list[str]:
    """A sentence for each student that was lost, and what its setting's other seeds came to."""
    if not path.exists():
        return []
    said = []
    for row in json.loads(path.read_text(encoding="utf-8")):
        lost = row.get("message", "no longer finite")
        end = f"Top-1 {row['top1']:.2f}%" if row.get("top1") is not None else lost
        said.append(f"{student(row)}, seed {row['seed']}: {end}")
    return [f"Left out, since a seed diverged. {'; '.join(said)}."]


def student(row: Mapping[str, Any]) -> str:
    """``PLD, T = 4``: how figures call it."""
    return Setting(row["method"], row["temperature"]).title


def recipe(values: Mapping[str, Any]) -> str:
    """``epochs 20, batch size 200``: a recipe's values with their names."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def table(comparison: Iterable[ComparisonRow]) -> str:
    """The comparison as a Markdown table; a pick that says nothing new is not listed again."""
    comparison = list(comparison)
    found = {(row.setting, row.to_kd): row for row in comparison}
    picked = {(row.setting, row.to_kd) for row in comparison if row.picked}
    lines = [["", "Top-1, %", "against CE", "against KD"], ["---"] * 4]
    for key, row in found.items():
        title = row.setting.title.replace(" ", "&nbsp;") + "<br>picked" * (key in picked)
        lines.append([title, on_one_line(f"{row.top1:.2f}"), lead(row.to_ce), lead(row.to_kd)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def without_intervals(rows: Iterable[Mapping[str, Any]]) -> str:
    """Students with one seed, each with the factor before its loss."""
    lines = ["| | factor before the loss | Top-1, % |", "| --- | --- | --- |"]
    for row in rows:
        lines.append(f"| {student(row)} | {row['loss_factor']:g} | {row['top1']:.2f} |")
    return "\n".join(lines)


def lead(found: Interval | None) -> str:
    """A difference, and on which side of 0 its interval lies."""
    return "" if found is None else f"{on_one_line(f'{found:+.2f}')}<br>{found.verdict}"


def on_one_line(interval: str) -> str:
    """``60.59 [59.98, 61.20]`` for HTML: no line breaks, and minus signs instead of hyphens."""
    return interval.replace(" ", "&nbsp;").replace("-", "\N{MINUS SIGN}")


def figure(name: str, drawn: Any, caption: str) -> str:
    """Save a figure and show it with its caption, which is also its alternative text."""
    FIGURES.mkdir(exist_ok=True)
    drawn.savefig(FIGURES / f"{name}.png", dpi=160)
    return f"```{{figure}} /generated/{name}.png\n:alt: {caption}\n:width: 100%\n\n{caption}\n```"
