"""A run in words: the table, what its intervals mean, and how close PLD is to cross-entropy."""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Any

from .comparison import ComparisonRow, Interval, by_setting, compare
from .methods import TITLES, Setting


def report(rows: Iterable[Mapping[str, Any]], teacher: Mapping[str, Any]) -> str:
    """Everything that a run has found.

    Parameters
    ----------
    rows : iterable of mappings
        The result rows of one run, ``rows.json``.
    teacher : mapping
        What is known of its teacher, ``teacher.json``.

    Returns
    -------
    str
        Several paragraphs of at most 120 columns.

    Raises
    ------
    ValueError
        Rows that cannot be compared, see `pld_edu.compare.compare`.
    """
    rows = list(rows)
    student = rows[0]["student"]
    seeds = len({row["seed"] for row in rows})
    return f"""\
Teacher {teacher["name"]}: {teacher["parameters"]:,} parameters, Top-1 {teacher["top1"]:.1f}%. \
Student {student}: {teacher["student_parameters"]:,} parameters.

{comparison_table(compare(rows))}

{intervals(seeds)} Lines at T = 1 are set against KD at T = 1, picked ones against KD at the T \
picked for KD; the
pick has the best held-out accuracy:

{held_out_table(rows)}

{saturation_table(teacher["temperatures"])}
(on the training set; cosine of the two gradients in the logits of {student}, seed 0, at its \
initial weights)
{closeness(teacher["temperatures"])}"""


def intervals(seeds: int) -> str:
    """What the brackets of the table are."""
    if seeds == 1:
        return (
            "One seed gives no interval and no verdict: another may turn the order around, and\n"
            "--seeds 3 tells more."
        )
    return (
        f"Brackets: 95% intervals over {seeds} student seeds (initial weights and batch order), "
        "with one teacher and one training\nset, each on its own."
    )


def comparison_table(lines: Sequence[ComparisonRow]) -> str:
    """The comparison as text; students picked at temperature 1 are not listed a second time."""
    fixed = {line.setting: line for line in lines if not line.picked}
    repeated = [line for line in lines if line.picked and line.setting in fixed]
    head = ["", "T", "Top-1, %", "difference to CE", "", "difference to KD", ""]
    cells = [head] + [_cells(line) for line in lines if line not in repeated]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    printed = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    printed.insert(1, "-" * max(map(len, printed)))
    if repeated:
        titles = ", ".join(TITLES[line.setting.method] for line in repeated)
        printed.append(f"{titles}: held-out data picked T = 1, so the line above stands for both.")
    for line in repeated:
        if line.to_kd and line.to_kd != fixed[line.setting].to_kd:
            difference = " ".join(_difference(line.to_kd))
            printed.append(f"{line.title} to KD at the T picked for KD: {difference}")
    return "\n".join(printed)


def _cells(line: ComparisonRow) -> list[str]:
    method, temperature = line.setting
    where = "" if temperature is None else f"{temperature:g}" + " (picked)" * line.picked
    return [
        TITLES[method],
        where,
        f"{line.top1.mean:.2f}{_brackets(line.top1, '.2f')}",
        *_difference(line.to_ce),
        *_difference(line.to_kd),
    ]


def _difference(found: Interval | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    return f"{found.mean:+.2f}{_brackets(found, '+.2f')}", found.verdict


def _brackets(found: Interval, digits: str) -> str:
    return "" if isnan(found.low) else f" [{found.low:{digits}}, {found.high:{digits}}]"


def held_out_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Mean held-out Top-1 of each method at each temperature: what the picks rest on."""
    means = {setting: found.mean() for setting, found in by_setting(rows, "held_out_top1").items()}
    columns = sorted({setting.temperature for setting in means}, key=lambda t: t or 0.0)
    head = ("no T" if t is None else f"T = {t:g}" for t in columns)
    lines = ["held-out Top-1, %" + "".join(f"{title:>9}" for title in head)]
    for method in dict.fromkeys(setting.method for setting in means):
        found = (means.get(Setting(method, t)) for t in columns)
        cells = "".join(" " * 9 if mean is None else f"{mean:9.2f}" for mean in found)
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


def closeness(temperatures: Sequence[Mapping[str, float]]) -> str:
    """What the cosines say about PLD under this teacher, in a sentence."""
    first, last = temperatures[0], temperatures[-1]
    nearly = first["cosine_to_ce"] > 0.99
    return (
        f"At T = {first['temperature']:g} this teacher makes PLD "
        f"{'cross-entropy in all but name' if nearly else 'differ from cross-entropy'} "
        f"(cosine {first['cosine_to_ce']:.4f}); at T = {last['temperature']:g} "
        f"the cosine is {last['cosine_to_ce']:.4f}."
    )
