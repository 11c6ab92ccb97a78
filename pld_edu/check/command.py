"""The command ``check``: check a function by name, or a file of numbers.

Exit status: 0 right, 1 wrong, 2 could not be called.
"""

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from .adapters import ADAPTERS, Result
from .checker import REDUCTIONS, WEIGHTS, check_choices, report_numbers, run_and_report
from .compare import Task
from .report import Report
from .running import Child, TargetError

RIGHT, WRONG, NOT_CALLED = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.description = "Is this loss the PLD of arXiv 2506.12542, and if not, what is wrong?"
    parser.epilog = "exit status: 0 right, 1 wrong, 2 could not be called"
    parser.add_argument(
        "target", nargs="?", help="package.module:function or path/to/file.py:function"
    )
    parser.add_argument("--gradient", metavar="TARGET", help="function that gives the gradient")
    parser.add_argument(
        "--outputs", metavar="FILE", help="check the numbers in a JSON file instead"
    )
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON")
    parser.add_argument("--framework", choices=ADAPTERS, help="recognised if not given")
    parser.add_argument("--weights", choices=WEIGHTS, default="teacher", help="uniform: a ListMLE")
    parser.add_argument("--reduction", choices=REDUCTIONS, default="mean")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds per call (default 5)")


def run(args: argparse.Namespace) -> int:
    """Carry the command out.

    Returns
    -------
    int
        The exit status.
    """
    try:
        report = _report(args)
    except (TargetError, ValueError, OSError) as error:
        print(f"PLD check: could not be called\n  {error}", file=sys.stderr)
        return NOT_CALLED
    print(report)
    if args.json:
        Path(args.json).write_text(report.to_json() + "\n", encoding="utf-8")
    if not report.callable:
        return NOT_CALLED
    return RIGHT if report.passed else WRONG


def _report(args: argparse.Namespace) -> Report:
    check_choices(args.framework, args.weights, args.reduction, args.timeout)
    task = Task(args.weights, args.reduction)
    if (args.target is None) == (args.outputs is None):
        raise ValueError("give either a function to check or --outputs FILE")
    if args.outputs:
        return report_numbers(read_outputs(args.outputs), task)
    with closing(Child(args.target, args.gradient, args.framework, args.timeout)) as child:
        return run_and_report(child, task, {})


def read_outputs(path: str | Path) -> dict[str, Result]:
    """Results from ``{case_id: {"loss": x, "gradient": [[...]]}}``; the gradient may be missing.

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
    return {name: _result(name, entry) for name, entry in data.items()}


def _result(name: str, entry: Any) -> Result:
    if not isinstance(entry, dict) or "loss" not in entry:
        raise ValueError(
            f'case {name!r} must hold {{"loss": x, "gradient": [[...]]}}, got {_kind(entry)}'
        )
    try:
        loss = np.array(entry["loss"], dtype=np.float64)  # null becomes nan
        slope = entry.get("gradient")
        gradient = None if slope is None else np.array(slope, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"case {name!r} holds something that is not a number: {error}") from error
    return Result(name, loss=loss, gradient=gradient)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {sorted(value)}"
    return f"a {type(value).__name__}"
