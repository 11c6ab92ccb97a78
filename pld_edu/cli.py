"""The command line: ``pld-edu distill`` and ``pld-edu check``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import __version__
from .experiments import EXPERIMENTS, METHODS, Experiment

# PyTorch and matplotlib are imported where they are needed, so that --help answers at once.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 2 for bad arguments, 1 for a failed run."""
    parser = _parser()
    options = parser.parse_args(arguments)
    return options.command(options, parser)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pld-edu", description="Plackett-Luce Distillation: learn it, teach it, check it."
    )
    parser.add_argument("--version", action="version", version=f"pld_edu {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    distill = commands.add_parser(
        "distill",
        help="train a teacher and its students by every method, and compare them",
        description="Train a teacher and its students by every method, and compare them. About "
        "a minute on a CPU; interrupted, the same command goes on where it stopped.",
    )
    distill.set_defaults(command=_distill)
    distill.add_argument(
        "--dataset", choices=EXPERIMENTS, default="mnist1d", help="default: mnist1d"
    )
    distill.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=METHODS,
        metavar="METHOD",
        help=f"some of {' '.join(METHODS)} (default: all)",
    )
    distill.add_argument(
        "--seeds", type=int, default=10, help="students of each setting (default: 10)"
    )
    distill.add_argument("--epochs", type=int, help="of the students (default: the recipe's)")
    distill.add_argument("--out", type=Path, help="folder (default: runs/DATASET)")

    from .check import command

    check = commands.add_parser(
        "check", help="is this loss PLD, and if not, what is wrong with it?"
    )
    command.add_arguments(check)
    check.set_defaults(command=lambda options, _: command.run(options))
    return parser


def _distill(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    try:
        experiment = _experiment(options)
    except ValueError as error:
        parser.error(str(error))

    from . import distill, plots
    from .report import report

    out = options.out or Path("runs") / experiment.dataset
    folder = distill.run_folder(experiment, out)
    finished = distill.is_finished(folder)
    if not finished:
        print(_plan(experiment), flush=True)
    try:
        run = distill.run(experiment, out)
    except OSError as error:
        parser.error(str(error))
    except FloatingPointError as error:
        print(f"pld-edu: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where this one stopped.", file=sys.stderr)
        return 130
    if finished:
        print(f"{folder} holds this run already, finished; here it is. Remove it to train again.")
    plots.comparison(run.rows).savefig(folder / "figure.png")
    print(f"\n{report(run.rows, run.teacher)}\n\nRows, logits and figure.png are in {folder}")
    return 0


def _plan(experiment: Experiment) -> str:
    settings, seeds = len(experiment.settings), experiment.seeds
    return (
        f"{experiment.dataset}: {experiment.teacher} teaches {settings * seeds} students "
        f"{experiment.student} side by side ({settings} settings, {seeds} seeds), "
        f"{experiment.student_recipe.epochs} epochs."
    )


def _experiment(options: argparse.Namespace) -> Experiment:
    experiment = EXPERIMENTS[options.dataset]
    recipe = experiment.student_recipe
    if options.epochs is not None:
        recipe = replace(recipe, epochs=options.epochs)
    return replace(
        experiment, methods=tuple(options.methods), seeds=options.seeds, student_recipe=recipe
    )


if __name__ == "__main__":
    sys.exit(main())
