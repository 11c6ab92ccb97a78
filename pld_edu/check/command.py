"""The command ``check``: check a function by name, or a file of numbers.

Exit status: 0 right, 1 wrong, 2 could not be called.
"""

import argparse
import sys
from contextlib import closing
from pathlib import Path

from .adapters import ADAPTERS
from .checker import CHOICES, check_options, check_outputs, run_and_report
from .pld import PLD
from .report import Report
from .running import Child, TargetError

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
    parser.add_argument(
        "--weights", choices=CHOICES["weights"], default="teacher", help="uniform: a ListMLE"
    )
    parser.add_argument("--reduction", choices=CHOICES["reduction"], default="mean")
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
    check_options(args.timeout)
    right = PLD(weights=args.weights, over_batch=args.reduction)
    if (args.target is None) == (args.outputs is None):
        raise ValueError("give either a function to check or --outputs FILE")
    if args.outputs:
        return check_outputs(args.outputs, right)
    with closing(Child((args.target, args.gradient, args.framework, args.timeout))) as child:
        return run_and_report(child, right, {})
