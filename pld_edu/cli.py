"""The command line: ``pld-edu distill``, ``pld-edu check`` and ``pld-edu bench``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import __version__
from .distill.experiment import EXPERIMENTS, PRESETS, Experiment
from .results.methods import METHODS

# PyTorch and matplotlib are imported where they are needed, so that --help answers at once.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 2 for bad arguments, 1 for a failed run."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.command(options, parser)
    except ModuleNotFoundError as error:
        if error.name not in ("matplotlib", "mnist1d", "PIL", "torch", "torchvision", "tqdm"):
            raise
        extra = 'the extra "distill" brings it: pip install "pld_edu[distill]"'
        print(f"pld-edu: {error.name} is not installed; {extra}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pld-edu", description="Plackett-Luce Distillation: learn it, teach it, check it."
    )
    parser.add_argument("--version", action="version", version=f"pld_edu {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    distill = commands.add_parser(
        "distill",
        help="train a teacher and its students by every method, and compare them",
        description="Train a teacher and its students by every method, and compare them. MNIST-1D "
        "takes about a minute on a CPU, CIFAR-100 wants a GPU or a preset. Interrupted, the same "
        "command goes on where it stopped.",
    )
    distill.set_defaults(command=_distill)
    add = distill.add_argument
    add("--dataset", choices=EXPERIMENTS, help="default: the preset's, otherwise mnist1d")
    add(
        "--preset",
        choices=PRESETS,
        help="CIFAR-100 with less to compute: small for a small or free GPU (one pair, one seed; "
        "about a quarter of an hour, an estimate nobody has measured yet), cpu for one core "
        "(10,000 training images, few epochs; about an hour)",
    )
    add("--teacher", help="a network of pld_edu.distill.networks (default: the recipe's)")
    add("--student", help="the same")
    some = f"some of {' '.join(METHODS)} (default: all; mnist1d without dkd)"
    add("--methods", nargs="+", choices=METHODS, metavar="METHOD", help=some)
    defaults = "of every method but ce (default: 1 4; mnist1d 1 2 4 8)"
    add("--temperatures", nargs="+", type=float, metavar="T", help=defaults)
    add("--seeds", type=int, help="students of each setting (default: 3; mnist1d 10)")
    add("--epochs", type=int, help="of the students (default: the recipe's)")
    add("--teacher-epochs", type=int, help="of the teacher (the same)")
    add("--train", type=int, metavar="N", help="samples to train on (default: the recipe's)")
    where = "where networks for images are trained: cuda, cpu, ... (default: cuda if there is one)"
    add("--device", help=where)
    add("--out", type=Path, help="folder (default: runs/DATASET)")

    from .check import command

    check = commands.add_parser(
        "check", help="is this loss PLD, and if not, what is wrong with it?"
    )
    command.add_arguments(check)
    check.set_defaults(command=lambda options, _: command.run(options))

    bench = commands.add_parser(
        "bench",
        help="what losses cost on this machine: time and memory",
        description="Time, forward and backward, and memory of cross-entropy, KD, DIST, DKD and "
        "PLD: as published, as in pld_edu.losses, as in pld_edu.fast. A few minutes for all "
        "shapes.",
    )
    bench.set_defaults(command=_bench)
    add = bench.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    shapes = "default: 128x10 128x100 512x100 256x1000 1024x1000 64x21841 16x128256"
    add("--shapes", nargs="+", type=_shape, metavar="ROWSxCLASSES", help=shapes)
    add("--rounds", type=int, default=9, help="medians are over this many (9)")
    add("--threads", type=int, default=1, help="of PyTorch on the CPU (1)")
    add("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    add("--figure", type=Path, metavar="FILE", help="draw times and memory")
    return parser


def _shape(text: str) -> tuple[int, int]:
    """``128x100`` as (128, 100)."""
    rows, _, classes = text.partition("x")
    if not (rows.isdecimal() and classes.isdecimal() and int(rows) > 0 and int(classes) > 1):
        raise argparse.ArgumentTypeError(
            f"a shape is ROWSxCLASSES, at least 1x2, like 128x100; got {text!r}"
        )
    return int(rows), int(classes)


def _bench(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from . import bench
    from ._files import write_json
    from .results.plots import costs

    for path in (options.json, options.figure):
        if path and not path.parent.is_dir():
            parser.error(f"there is no folder {path.parent} for {path.name}; make it first")
    shapes = options.shapes or bench.SHAPES
    try:
        result = bench.run(shapes, options.rounds, options.device, options.threads)
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("\nInterrupted: nothing was written.", file=sys.stderr)
        return 130
    print(bench.report(result))
    if options.json:
        write_json(options.json, result)
    if options.figure:
        costs(result["rows"]).savefig(options.figure)
    return 0


def _distill(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    try:
        experiment = _experiment(options)
    except ValueError as error:
        parser.error(str(error))

    from .distill import jobs
    from .distill import run as distill
    from .distill.networks import names_for
    from .results import plots
    from .results.tables import report

    known = names_for(experiment.dataset)
    for name in (experiment.teacher, experiment.student):
        if name not in known:
            what = f"no network for {experiment.dataset} is called {name!r}"
            parser.error(f"{what}; there are {', '.join(known)}")
    out = options.out or Path("runs") / experiment.dataset
    folder = distill.run_folder(experiment, out)
    finished = distill.is_finished(folder)
    try:
        device = distill.resolve_device(options.device)
        if not finished and jobs.is_first():
            settings, seeds = len(experiment.settings), experiment.seeds
            print(
                f"{experiment.dataset}: {experiment.teacher} teaches {settings * seeds} students "
                f"{experiment.student} side by side{' seed by seed' * experiment.images} "
                f"({settings} settings, {seeds} seeds), {experiment.student_recipe.epochs} epochs.",
                flush=True,
            )
        run = distill.run(experiment, out, device=device)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except FloatingPointError as error:
        print(f"pld-edu: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where this one stopped.", file=sys.stderr)
        return 130
    if not jobs.is_first():
        return 0
    if finished:
        print(f"{folder} holds this run already, finished; here it is. Remove it to train again.")
    plots.comparison(run.rows).savefig(folder / "figure.png")
    print(f"\n{report(run.rows, run.teacher)}\n\nRows, logits and figure.png are in {folder}")
    return 0


def _experiment(options: argparse.Namespace) -> Experiment:
    """The data set's experiment, or the preset's, with the changes that were asked for."""
    experiment = EXPERIMENTS[options.dataset or "mnist1d"]
    if options.preset:
        experiment = PRESETS[options.preset]
        if options.dataset not in (None, experiment.dataset):
            raise ValueError(f"--preset {options.preset} is for --dataset {experiment.dataset}")
    changes: dict[str, Any] = {}
    for name in ("teacher", "student", "methods", "temperatures", "seeds", "train"):
        value = getattr(options, name)
        if value is not None:
            changes[name] = tuple(value) if isinstance(value, list) else value
    for name, epochs in (("teacher", options.teacher_epochs), ("student", options.epochs)):
        if epochs is not None:
            recipe = getattr(experiment, f"{name}_recipe")
            changes[f"{name}_recipe"] = replace(recipe, epochs=epochs)
    return replace(experiment, **changes)


if __name__ == "__main__":
    sys.exit(main())
