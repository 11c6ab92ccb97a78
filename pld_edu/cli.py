"""The command line: ``pld-edu distill``, ``pld-edu check`` and ``pld-edu bench``."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import __version__
from .distill.experiment import EXPERIMENTS, PRESETS, Experiment
from .results.methods import METHODS

OUT_OF_TIME = 75  # EX_TEMPFAIL: the same command will go on

# PyTorch and matplotlib are imported where they are needed, so that --help answers at once.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    It is 2 for bad arguments, 1 for a failed run, 75 when its minutes were over before its end.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.command(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print(f"\nInterrupted{options.interrupted}", file=sys.stderr)
        return 130
    except FloatingPointError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        if error.name not in ("matplotlib", "mnist1d", "PIL", "torch", "torchvision", "tqdm"):
            raise
        extra = 'the extra "distill" brings it: pip install "pld_edu[distill]"'
        message = f"{error.name} is not installed; {extra}"
    print(f"pld-edu: {message}", file=sys.stderr)
    return 1


def _parser() -> ArgumentParser:
    from .check import command as check

    description = "Plackett-Luce Distillation: learn it, teach it, check it."
    parser = ArgumentParser("pld-edu", description=description)
    parser.add_argument("--version", action="version", version=f"pld_edu {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_distill(
        commands.add_parser("distill", help="train a teacher, and students by every method")
    )
    own = commands.add_parser("check", help="is this loss PLD, and if not, what is wrong with it?")
    check.add_arguments(own)
    own.set_defaults(command=check.run, interrupted=".")
    _add_bench(commands.add_parser("bench", help="what losses cost here: time and memory"))
    return parser


def _add_distill(parser: ArgumentParser) -> None:
    parser.description = "Train a teacher and students by every method; an interrupted run goes on."
    goes_on = ". The same command goes on where this one stopped."
    parser.set_defaults(command=_distill, interrupted=goes_on)
    add = parser.add_argument
    add("--dataset", choices=EXPERIMENTS, help="default: mnist1d; cifar100 wants a GPU")
    presets = (
        "fair: mnist1d, every method at its own learning rate, five teachers and data sets, two "
        "minutes (default); one-recipe: mnist1d, one of each; small, cpu: cifar100"
    )
    add("--preset", choices=PRESETS, help=presets)
    add("--teacher", help="a network of pld_edu.distill.networks (default: the recipe's)")
    add("--student", help="the same")
    some = f"some of {' '.join(METHODS)} (default: all; mnist1d without dkd)"
    add("--methods", nargs="+", choices=METHODS, metavar="METHOD", help=some)
    every = "of every method but ce (default: the preset's)"
    add("--temperatures", nargs="+", type=float, metavar="T", help=every)
    add("--seeds", type=int, help="students of each setting, of which a run may get more later")
    add("--epochs", type=int, help="of the students (default: the recipe's)")
    add("--teacher-epochs", type=int, help="of the teacher (the same)")
    add("--train", type=int, metavar="N", help="samples to train on (default: the recipe's)")
    add("--minutes", type=float, help="stop when they are over; the same command goes on")
    add("--device", help="for images: cuda, cpu, ... (default: cuda if there is a GPU)")
    add("--out", type=Path, help="folder (default: runs/DATASET)")


def _add_bench(parser: ArgumentParser) -> None:
    parser.description = "Time and memory of losses: as published, as in pld_edu.losses and .fast."
    parser.set_defaults(command=_bench, interrupted=": nothing was written.")
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    shapes = "default, in minutes: 128x10 128x100 512x100 256x1000 1024x1000 64x21841 16x128256"
    add("--shapes", nargs="+", type=_shape, metavar="ROWSxCLASSES", help=shapes)
    add("--rounds", type=int, default=9, help="medians are over this many (9)")
    add("--threads", type=int, default=1, help="of PyTorch on the CPU (1)")
    add("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    add("--figure", type=Path, metavar="FILE", help="draw times and memory")


def _shape(text: str) -> tuple[int, int]:
    """``128x100`` as (128, 100)."""
    rows, _, classes = text.partition("x")
    if not (rows.isdecimal() and classes.isdecimal() and int(rows) > 0 and int(classes) > 1):
        wanted = "ROWSxCLASSES, at least 1x2, like 128x100"
        raise ArgumentTypeError(f"a shape is {wanted}; got {text!r}")
    return int(rows), int(classes)


def _bench(options: Namespace) -> int:
    from . import bench
    from ._files import write_json
    from .results.plots import costs

    for path in (options.json, options.figure):
        if path and not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent} for {path.name}; make it first")
    shapes = options.shapes or bench.SHAPES
    result = bench.run(shapes, options.rounds, options.device, options.threads)
    print(bench.report(result))
    if options.json:
        write_json(options.json, result)
    if options.figure:
        costs(result["rows"]).savefig(options.figure)
    return 0


def _distill(options: Namespace) -> int:
    experiment = _experiment(options)

    from .distill import jobs, run
    from .distill.networks import check_name
    from .distill.stopping import OutOfTime
    from .results import plots, records, tables

    for name in (experiment.teacher, experiment.student):
        check_name(name, experiment.dataset)
    device = run.resolve_device(options.device)
    if experiment.draws:
        return _compare_fairly(experiment, options.out or Path("runs") / "mnist1d-fair")
    out = options.out or Path("runs") / experiment.dataset
    folder = run.run_folder(experiment, out)
    finished = run.is_finished(experiment, folder)
    if not finished and jobs.is_first():
        settings, seeds = len(experiment.settings), experiment.seeds
        print(
            f"{experiment.dataset}: {experiment.teacher} teaches {settings * seeds} students "
            f"{experiment.student} side by side{' seed by seed' * experiment.images} "
            f"({settings} settings, {seeds} seeds), {experiment.student_recipe.epochs} epochs.",
            flush=True,
        )
    try:
        _, rows, teacher = run.run(experiment, out, device=device, minutes=options.minutes)
    except OutOfTime:
        print(f"\nThe {options.minutes:g} minutes are over{options.interrupted}", file=sys.stderr)
        return OUT_OF_TIME
    if not jobs.is_first():
        return 0
    if finished:
        print(f"{folder} holds this run already, finished; here it is. Remove it to train again.")
    plots.comparison(rows).savefig(folder / "figure.png")
    hits = records.read_hits(folder, experiment.seeds)
    text = tables.report(rows, teacher, experiment.primary, hits)
    print(f"\n{text}\n\nRows, logits and figure.png are in {folder}")
    return 0


def _compare_fairly(experiment: Experiment, folder: Path) -> int:
    """Every method at its own learning rate and temperature, over draws of teacher and data."""
    from .distill import fair
    from .results import draws, plots

    if fair.is_finished(folder):
        print(f"{folder} holds this run already, finished; here it is. Remove it to train again.")
    rows = fair.run(experiment, folder).rows
    plots.over_draws(rows).savefig(folder / "figure.png")
    print(f"\n{draws.report(rows, experiment.primary)}\n\nRows and figure.png are in {folder}")
    return 0


def _experiment(options: Namespace) -> Experiment:
    """The data set's experiment, or the preset's, with the changes that were asked for."""
    preset, dataset = options.preset, options.dataset
    default = PRESETS["fair"] if dataset in (None, "mnist1d") else EXPERIMENTS[dataset]
    experiment = PRESETS[preset] if preset else default
    if dataset not in (None, experiment.dataset):
        raise ValueError(f"--preset {preset} is for --dataset {experiment.dataset}")
    changes: dict[str, Any] = {}
    for name in ("teacher", "student", "methods", "temperatures", "seeds", "train"):
        if (value := getattr(options, name)) is not None:
            changes[name] = tuple(value) if isinstance(value, list) else value
    if "methods" in changes or "temperatures" in changes:  # another grid, and nothing besides it
        changes |= {"more": (), "primary": ()}
    for name, epochs in (("teacher", options.teacher_epochs), ("student", options.epochs)):
        if epochs is not None:
            recipe = getattr(experiment, f"{name}_recipe")
            changes[f"{name}_recipe"] = replace(recipe, epochs=epochs)
    return replace(experiment, **changes)


if __name__ == "__main__":
    sys.exit(main())
