"""The command line: ``pld-edu distill``, ``pld-edu check`` and ``pld-edu bench``."""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from . import __version__
from .distill.experiment import EXPERIMENTS, PRESETS, Experiment, with_sgd
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
        status = options.command(options)
        sys.stdout.flush()
        return status
    except UsageError as error:
        parser.error(str(error))
    except BrokenPipeError:  # nobody reads on, as after `| head`: nor may Python write at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"\nInterrupted{options.interrupted}", file=sys.stderr)
        return 130
    except FloatingPointError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        known = ("matplotlib", "mnist1d", "PIL", "torch", "torchvision", "tqdm")
        if (error.name or "").partition(".")[0] not in known:
            raise
        extra = 'the extra "distill" brings it: pip install "pld_edu[distill]"'
        message = f"{error.name} is not installed; {extra}"
    print(f"pld-edu: {message}", file=sys.stderr)
    return 1


class UsageError(Exception):
    """What was asked for is not possible; the message is for whoever asked."""


@contextmanager
def _as_usage(*errors: type[Exception]) -> Iterator[None]:
    """Of these errors only the message is shown; others are bugs, and keep their traceback."""
    try:
        yield
    except errors as error:
        raise UsageError(str(error)) from error


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
        "minutes (default); one-recipe: mnist1d, one of each; small, cpu: cifar100; "
        "smoke: a trial of everything in a minute"
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
    for name in ("train", "held-out", "test"):
        add(f"--{name}", type=int, metavar="N", help="samples of this split (the same)")
    sgd = "sgd: Nesterov's, 0.05 for batches of 64 and in proportion, decay 5e-4 (default: adamw)"
    add("--optimizer", choices=("adamw", "sgd"), help=f"of cifar100; {sgd}")
    add("--precision", choices=("float32", "bfloat16"), help="of the networks (the preset's)")
    graphs = "CUDA graphs of steps; if there is none: auto warns (default), require stops"
    add("--graphs", choices=("auto", "require", "off"), default="auto", help=graphs)
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
            raise UsageError(f"there is no folder {path.parent} for {path.name}; make it first")
    shapes = options.shapes or bench.SHAPES
    with _as_usage(ValueError):
        bench.check(options.rounds, options.device, options.threads)
    result = bench.run(shapes, options.rounds, options.device, options.threads)
    print(bench.report(result))
    if options.json:
        write_json(options.json, result)
    if options.figure:
        costs(result["rows"]).savefig(options.figure)
    return 0


def _distill(options: Namespace) -> int:
    with _as_usage(ValueError):
        experiment = _experiment(options)

    from .distill import jobs, run
    from .distill.networks import check_name
    from .distill.stopping import OutOfTime
    from .results import plots, records, tables

    with _as_usage(ValueError):
        for name in (experiment.teacher, experiment.student):
            check_name(name, experiment.dataset)
        device = run.resolve_device(options.device)
    if experiment.draws:
        with _as_usage(*run.NOT_POSSIBLE):
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
    how = {"minutes": options.minutes, "graphs": options.graphs}
    try:
        with _as_usage(*run.NOT_POSSIBLE):
            _, rows, teacher = run.run(experiment, out, device=device, **how)
    except OutOfTime:
        print(f"\nThe {options.minutes:g} minutes are over{options.interrupted}", file=sys.stderr)
        return OUT_OF_TIME
    if not jobs.is_first():
        return 0
    if finished:
        print(f"{folder} holds this run already, finished; here it is. Remove it to train again.")
    plots.comparison(rows, set(chain(*experiment.primary))).savefig(folder / "figure.png")
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
        raise UsageError(f"--preset {preset} is for --dataset {experiment.dataset}")
    changes: dict[str, Any] = {}
    names = "teacher student methods temperatures seeds train held_out test precision"
    for name in names.split():
        if (value := getattr(options, name)) is not None:
            changes[name] = tuple(value) if isinstance(value, list) else value
    if "methods" in changes or "temperatures" in changes:  # another grid, and nothing besides it
        changes |= {"more": (), "primary": ()}
    for name, epochs in (("teacher", options.teacher_epochs), ("student", options.epochs)):
        if epochs is not None:
            recipe = getattr(experiment, f"{name}_recipe")
            changes[f"{name}_recipe"] = replace(recipe, epochs=epochs)
    experiment = replace(experiment, **changes)
    if not experiment.images and (options.optimizer or options.precision):
        raise UsageError("--optimizer and --precision are for cifar100")
    if experiment.draws and options.minutes is not None:
        raise UsageError("--minutes is for a run with one teacher, such as --preset one-recipe")
    return with_sgd(experiment) if options.optimizer == "sgd" else experiment


if __name__ == "__main__":
    sys.exit(main())
