"""The command ``check``: judge a function by name, or a file of numbers.

Exit status: 0 right, 1 wrong, 2 could not be called.
"""

import argparse
import sys
from pathlib import Path

from .adapters import FRAMEWORKS
from .checker import REDUCTIONS, WEIGHTS, all_cases, check_options, report_on
from .isolation import Job, TargetError, run_isolated
from .judge import Question
from .outputs import read_outputs
from .report import Report
from .runner import Setup

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
        "--outputs", metavar="FILE", help="judge the numbers in a JSON file instead"
    )
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON")
    parser.add_argument("--framework", choices=FRAMEWORKS, help="recognised if not given")
    parser.add_argument("--weights", choices=WEIGHTS, default="teacher", help="uniform: a ListMLE")
    parser.add_argument("--reduction", choices=REDUCTIONS, default="mean")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds a call (default 5)")


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
    check_options(args.framework, args.weights, args.reduction, args.timeout)
    if (args.target is None) == (args.outputs is None):
        raise ValueError("give either a function to check or --outputs FILE")
    pool = all_cases()
    question = Question(args.weights, args.reduction)
    if args.outputs:
        outcomes = read_outputs(args.outputs)
        if not any(c.id in outcomes for c in pool):
            raise ValueError(
                f"{args.outputs} holds no case of the vectors; ids are like {pool[0].id!r}"
            )
        return report_on(pool, outcomes, question, {}, None)
    result = run_isolated(Job(args.target, args.gradient, args.framework, args.timeout), pool)
    setup = result.setup or Setup(args.framework or "unknown", temperature=True)
    return report_on(pool, result.outcomes, question, {}, setup)
