"""The command ``check``: check a function by name, or a file of numbers.

Exit status: 0 right, 1 wrong, 2 could not be called.
"""

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from .adapters import ADAPTERS
from .checker import REDUCTIONS, WEIGHTS, Outputs, check_choices, report_outputs, run_and_report
from .report import Report
from .running import Child, TargetError
from .variants import LossVariant

RIGHT, WRONG, NOT_CALLED = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.description = "Is this loss the PLD of arXiv 2506.12542, and if not, what is wrong?"
    parser.epilog = "exit status: 0 right, 1 wrong, 2 could not be called"
    where = "package.module:function or path/to/file.py:function"
    parser.add_argument("target", nargs="?", help=where)
    parser.add_argument("--gradient", metavar="TARGET", help="function that gives the gradient")
    parser.add_argument("--outputs", metavar="FILE", help="check numbers in a JSON file instead")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON")
    parser.add_argument("--framework", choices=ADAPTERS, help="recognised if not given")
    parser.add_argument("--weights", choices=WEIGHTS, default="teacher", help="uniform: a ListMLE")
    parser.add_argument("--reduction", choices=REDUCTIONS, default="mean")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds per call (default 5)")


def run(args: argparse.Namespace) -> int:
    """Carry the command out and return the exit status."""
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
    right = LossVariant(weights=args.weights, over_batch=args.reduction)
    if (args.target is None) == (args.outputs is None):
        raise ValueError("give either a function to check or --outputs FILE")
    if args.outputs:
        return report_outputs(read_outputs(args.outputs), right)
    with closing(Child(args.target, args.gradient, args.framework, args.timeout)) as child:
        return run_and_report(child, right, {})


def read_outputs(path: str | Path) -> dict[str, Outputs]:
    """Numbers from ``{case_id: {"loss": x, "gradient": [[...]]}}``; the gradient may be missing.

    NaN and infinities may be written as JSON's extension (NaN, Infinity), as null or as strings.
    ValueError for a file that is not JSON or not of this form, OSError if it cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold one object, case id to numbers, got {text[:60]}")
    outputs = {}
    for name, entry in data.items():
        if not isinstance(entry, dict) or "loss" not in entry:
            form = '{"loss": x, "gradient": [[...]]}'
            raise ValueError(f"case {name!r} must hold {form}, got {json.dumps(entry)[:60]}")
        slope = entry.get("gradient")
        try:
            loss = np.array(entry["loss"], dtype=np.float64)  # null becomes nan
            outputs[name] = loss, None if slope is None else np.array(slope, dtype=np.float64)
        except (TypeError, ValueError) as error:
            message = f"case {name!r} holds something that is not a number: {error}"
            raise ValueError(message) from error
    return outputs
