"""A run in words: the table, what its intervals mean, and how close PLD is to cross-entropy."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from textwrap import fill
from typing import Any

import numpy as np

from .comparison import (
    ComparisonRow,
    by_setting,
    compare,
    mean_interval,
    paired_difference,
    sample_half_width,
)
from .methods import TITLES, Setting


def report(
    rows: Iterable[Mapping[str, Any]],
    teacher: Mapping[str, Any],
    primary: Sequence[tuple[Setting, Setting]] = (),
    hits: Mapping[Setting, np.ndarray] | None = None,
) -> str:
    """Everything that a run has found, in several paragraphs of at most 120 columns.

    `rows` and `teacher` are what a run's ``rows.json`` and ``teacher.json`` hold; `primary` are the
    comparisons that were chosen before it, and `hits` what `records.read_hits` reads. Raises
    ValueError as `pld_edu.results.comparison.compare` does.
    """
    rows, hits = list(rows), hits or {}
    student, seeds = rows[0]["student"], len({row["seed"] for row in rows})
    first, last = teacher["temperatures"][0], teacher["temperatures"][-1]
    if seeds == 1:
        intervals = (
            "One seed gives no interval and no verdict: another may turn the order around, and\n"
            "--seeds 3 tells more."
        )
    else:
        intervals = (
            f"Brackets: 95% intervals over {seeds} student seeds (initial weights and batch "
            "order), with one\nteacher, training set and test set, each on its own."
        ) + from_samples(hits)
    nearly = first["cosine_to_ce"] > 0.99
    closeness = "cross-entropy in all but name" if nearly else "differ from cross-entropy"
    return f"""\
Teacher {teacher["name"]}: {teacher["parameters"]:,} parameters, Top-1 {teacher["top1"]:.1f}%. \
Student {student}: {teacher["student_parameters"]:,} parameters.

{primary_table(rows, primary, hits)}{comparison_table(compare(rows, set(chain(*primary))))}
{diverged(rows)}
{intervals} Lines at T = 1 are set against KD at T = 1,
picked ones against KD at the T picked for KD; the pick has the best held-out accuracy:

{held_out_table(rows)}

{saturation_table(teacher["temperatures"])}
(on the training set; cosine of the two gradients in the logits of {student}, seed 0, at its \
initial weights)
At T = {first["temperature"]:g} this teacher makes PLD {closeness} (cosine \
{first["cosine_to_ce"]:.4f}); at T = {last["temperature"]:g} the cosine is \
{last["cosine_to_ce"]:.4f}."""


def diverged(rows: Iterable[Mapping[str, Any]]) -> str:
    """A sentence that names the students that diverged; empty if none did."""
    lost = [
        f"{Setting(row['method'], row['temperature']).title}, seed {row['seed']} (epoch "
        f"{row['diverged']['epoch']}, step {row['diverged']['step']})"
        for row in rows
        if "diverged" in row
    ]
    if not lost:
        return ""
    left_out = "Diverged, so left out of means and of differences, which take the other seeds"
    return fill(f"{left_out}: {'; '.join(lost)}.", 100) + "\n"


def primary_table(
    rows: Iterable[Mapping[str, Any]],
    primary: Sequence[tuple[Setting, Setting]],
    hits: Mapping[Setting, np.ndarray],
) -> str:
    """The comparisons that were chosen before the run, and the title of all others; or nothing."""
    if not primary:
        return ""
    top1, m = by_setting(rows, "top1"), len(primary)
    together = {1: "", 2: " over both together"}.get(m, f" over all {m} together")
    lines = [f"Chosen before the run, 95%{together} (over student seeds):"]
    for ours, theirs in primary:
        found = paired_difference(top1[ours], top1[theirs], m)
        lines.append(f"  {ours.title}, minus {theirs.title}: {found:+.2f} {found.verdict}")
        if ours in hits and theirs in hits:
            width = sample_half_width(hits[ours], hits[theirs], m)
            lines[-1] += f"; test samples drawn anew: +-{width:.2f}"
    return "\n".join([*lines, "", "Exploratory, not corrected:", "", ""])


def from_samples(hits: Mapping[Setting, np.ndarray]) -> str:
    """A sentence on what the choice of test samples adds to the differences to cross-entropy."""
    ce = Setting("ce", None)
    widths = [sample_half_width(own, hits[ce]) for s, own in hits.items() if s != ce and ce in hits]
    if not widths:
        return ""
    low, high = np.nanmin(widths), np.nanmax(widths)
    return f"\nTest samples drawn anew move differences to CE by +-{low:.2f} to {high:.2f} (95%)."


def comparison_table(comparison: Sequence[ComparisonRow]) -> str:
    """The comparison as text; students picked at temperature 1 are not listed a second time."""
    fixed = {row.setting: row for row in comparison if not row.picked}
    repeated = [row for row in comparison if row.picked and row.setting in fixed]
    cells = [["", "T", "Top-1, %", "difference to CE", "", "difference to KD", ""]]
    for row in comparison:
        if row not in repeated:
            method, t = row.setting
            temperature = "" if t is None else f"{t:g}" + " (picked)" * row.picked
            cells.append([TITLES[method], temperature, f"{row.top1:.2f}"])
            for lead in (row.to_ce, row.to_kd):
                cells[-1] += [f"{lead:+.2f}", lead.verdict] if lead else ["", ""]
    columns = zip(*cells, strict=True)
    aligned = [[cell.ljust(max(map(len, column))) for cell in column] for column in columns]
    lines = ["  ".join(line).rstrip() for line in zip(*aligned, strict=True)]
    lines.insert(1, "-" * max(map(len, lines)))
    if titles := ", ".join(TITLES[row.setting.method] for row in repeated):
        lines.append(f"{titles}: held-out data picked T = 1, so the line above stands for both.")
    for row in repeated:
        if (lead := row.to_kd) and lead != fixed[row.setting].to_kd:
            title = f"{row.setting.title} to KD at the T picked for KD"
            lines.append(f"{title}: {lead:+.2f} {lead.verdict}")
    return "\n".join(lines)


def held_out_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Mean held-out Top-1 of each method at each temperature: what the picks rest on."""
    found = by_setting(rows, "held_out_top1")
    means = {s: mean for s, own in found.items() if (mean := mean_interval(own).mean) == mean}
    columns = sorted({setting.temperature for setting in means}, key=lambda t: t or 0.0)
    head = ("no T" if t is None else f"T = {t:g}" for t in columns)
    lines = ["held-out Top-1, %" + "".join(f"{title:>9}" for title in head)]
    for method in dict.fromkeys(setting.method for setting in means):
        own = (means.get(Setting(method, t)) for t in columns)
        cells = "".join(" " * 9 if mean is None else f"{mean:9.2f}" for mean in own)
        lines.append(f"{TITLES[method]:17}{cells}".rstrip())
    return "\n".join(lines)


def saturation_table(temperatures: Iterable[Mapping[str, float]]) -> str:
    """For each temperature the teacher's weight of the label, and PLD's cosine to CE."""
    lines = ["PLD at T   mean label weight   share above 0.99   cosine to CE"]
    for found in temperatures:
        lines.append(
            f"{found['temperature']:8g}{found['mean_label_weight']:20.4f}"
            f"{found['share_above_99']:19.2%}{found['cosine_to_ce']:15.4f}"
        )
    return "\n".join(lines)
