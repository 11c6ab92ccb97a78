"""Result rows made by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from pld_edu.results.methods import Setting

CE = Setting("ce", None)
KD1, KD4, PLD1, PLD4 = (Setting(method, t) for method in ("kd", "pld") for t in (1.0, 4.0))


def make_rows(
    top1: Mapping[Setting, Sequence[float]], held_out: Mapping[Setting, float]
) -> list[dict[str, Any]]:
    """One row per value; every seed of a setting has the same held-out accuracy."""
    return [
        {"student": "mlp32", **setting._asdict(), "seed": seed}
        | {"top1": value, "held_out_top1": held_out[setting]}
        for setting, values in top1.items()
        for seed, value in enumerate(values)
    ]
