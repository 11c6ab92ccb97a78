"""Tables of a benchmark's result."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

TABLES = {
    "milliseconds": "Milliseconds, forward and backward",
    "in_cross_entropies": "The same in cross-entropies",
    "in_listings": "The same in published listings",
    "memory": "Most memory held at a time, inputs apart, in float32 of [B, C]",
    "gigabytes_per_second": "GB/s, of the 12 bytes a logit that have to be moved",
}
NOTE = (
    "Teacher and student are float32. KD, DIST, DKD and losses are those of pld_edu.losses, which "
    "compute in float64; plain KD is F.kl_div as people write it. On one CPU thread the clock is "
    "processor time."
)


def report(result: Mapping[str, Any]) -> str:
    """All tables as text, a line a contender and a column a shape."""
    threads = "" if result["device"] == "cuda" else f", threads: {result['threads']}"
    parts = [f"{result['device']} ({result['processor']}){threads}, rounds: {result['rounds']}"]
    parts.append(NOTE)
    for key, title in TABLES.items():
        if key != "gigabytes_per_second" or result["device"] == "cuda":
            parts.append(f"{title}\n{table(result['rows'], key)}")
    parts.append(_training_step(result["training_step"]))
    return "\n\n".join(parts)


def to_json(result: Mapping[str, Any]) -> str:
    """The result as JSON, a line a row."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in result["rows"])
    rest = json.dumps({**result, "rows": "ROWS"}, indent=1)
    return rest.replace('"ROWS"', f"[\n{rows}\n ]") + "\n"


def table(rows: Iterable[Mapping[str, Any]], key: str, group: str = "losses") -> str:
    """One number of each contender at each shape."""
    rows = [row for row in rows if row["group"] == group]
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    values = {(row["name"], tuple(row["shape"])): row[key] for row in rows}
    lines = [" " * 22 + "".join(f"{f'{b}x{c}':>11}" for b, c in shapes)]
    for name in dict.fromkeys(row["name"] for row in rows):
        cells = (values.get((name, shape)) for shape in shapes)
        lines.append(f"{name:22}" + "".join(f"{_number(cell):>11}" for cell in cells))
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _training_step(step: Mapping[str, Any]) -> str:
    lines = [
        f"A training step: {step['student']}, batch {step['batch']}, {step['classes']} classes, "
        f"milliseconds (the teacher {step['teacher']} forward: {step['teacher_forward']:.3g})",
        f"{'':22}{'whole step':>11}{'loss alone':>11}",
    ]
    for name, whole in step["step"].items():
        lines.append(f"{name:22}{whole:11.4g}{step['loss_alone'][name]:11.3g}")
    return "\n".join(lines)
