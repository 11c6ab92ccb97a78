"""Numbers that a program in any language computed from the vectors: a JSON file of outcomes."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .runner import Outcome


def read_outputs(path: str | Path) -> dict[str, Outcome]:
    """Outcomes from ``{case_id: {"loss": x, "gradient": [[...]]}}``; the gradient may be missing.

    NaN and infinities may be written as JSON's extension (NaN, Infinity), as null or as strings.

    Raises
    ------
    ValueError
        Not JSON, or not of this form.
    OSError
        The file cannot be read.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold one object, case id to numbers, got {_kind(data)}")
    return {name: _outcome(name, entry) for name, entry in data.items()}


def _outcome(name: str, entry: Any) -> Outcome:
    if not isinstance(entry, dict) or "loss" not in entry:
        raise ValueError(
            f'case {name!r} must hold {{"loss": x, "gradient": [[...]]}}, got {_kind(entry)}'
        )
    try:
        loss = _numbers(entry["loss"])
        gradient = None if entry.get("gradient") is None else _numbers(entry["gradient"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"case {name!r} holds something that is not a number: {error}") from error
    return Outcome(name, loss=loss, gradient=gradient, dtype="unknown")


def _numbers(value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    def plain(x: Any) -> Any:
        if isinstance(x, list):
            return [plain(v) for v in x]
        return float("nan") if x is None else float(x)

    return np.array(plain(value), dtype=np.float64)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {sorted(value)}"
    return f"a {type(value).__name__}"
