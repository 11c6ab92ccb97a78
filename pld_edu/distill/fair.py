"""The fair comparison: each method at its own learning rate and temperature, over several draws.

A draw is a teacher and training, held-out and test data, all made anew. Students of every setting
are tried at every learning rate of the screen; for each method the best held-out accuracy, as a
mean over the draws, picks rate and temperature. Then students of each pick are trained in every
draw. Finished parts lie in files of their own, so that an interrupted run goes on.
"""

import json
import shutil
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from functools import cache, partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .._files import write_atomically, write_json
from ..data import mnist1d
from ..results.methods import METHODS, Setting
from ..results.records import claim, provenance, write_predictions
from .experiment import Experiment
from .networks import Stack, build
from .objectives import Loss, StackedLoss, cross_entropy, make_loss
from .record import Row, accuracy, pick_trials
from .saturation import saturation
from .train import Learner, Samples, Trainer, predict, to_device

Job = tuple[Any, ...]  # the arguments of `teach` or `train`
ByRate = Mapping[float, Sequence[Setting]]  # the settings that are trained at a learning rate


class FairRun(NamedTuple):
    """A finished run: one row for each student, for each student of the screen, each teacher."""

    folder: Path
    rows: list[Row]
    screen: list[Row]
    teachers: list[Row]


class Draw(NamedTuple):
    """The data of one draw."""

    train: Samples
    held_out: Samples
    test: Samples


def run(
    experiment: Experiment, folder: Path | str, *, progress: bool = True, processes: int = 2
) -> FairRun:
    """Do the comparison; go on with it if it was interrupted; only read it if it is finished.

    Parameters
    ----------
    experiment : Experiment
        With `draws`, on MNIST-1D.
    folder : path
    progress : bool
        Whether to show a progress bar, on stderr.
    processes : int
        How many work at a time, each on one CPU core; with 1 it is a thread of this process.

    Raises
    ------
    FileExistsError
        The folder holds a run with other settings.
    FloatingPointError
        A loss is no longer finite; the message says whose and when.
    """
    folder, draws = Path(folder), experiment.draws
    if draws is None or experiment.dataset != "mnist1d":
        raise ValueError(f"draws of mnist1d are compared, got {draws} of {experiment.dataset}")
    # `claim` lets the number of seeds differ, but here all seeds depend on it.
    note = {"students" if key == "seeds" else key: v for key, v in experiment.note.items()}
    claim(folder, note)
    if is_finished(folder):
        return load(folder)
    parts, threads = folder / "parts", torch.get_num_threads()
    parts.mkdir(exist_ok=True)
    teachers: list[Job] = [(experiment, parts, draw) for draw in range(draws.number)]
    trials: list[Job] = []
    for rate in draws.learning_rates:
        name, tried = f"screen-{rate:g}", {rate: experiment.settings}
        trials += make_jobs(experiment, parts, name, tried, draws.trials, draws.first_seed)
    torch.set_num_threads(1)  # small tensors: threads that share them would wait for each other
    spawn = get_context("spawn"), start_process
    pool = ThreadPoolExecutor(1) if processes == 1 else ProcessPoolExecutor(processes, *spawn)
    bar = tqdm(total=len(trials) + 2 * len(teachers), unit="part", disable=not progress)
    try:
        with bar:
            do_jobs(pool, bar, "teachers", teach, teachers)
            do_jobs(pool, bar, "screen", train, trials)
            picked = pick(read_rows(trials))
            jobs = make_jobs(experiment, parts, "picked", picked, experiment.seeds)
            do_jobs(pool, bar, "picked settings", train, jobs)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
    record(folder, teachers, read_rows(trials), read_rows(jobs))
    return load(folder)


def is_finished(folder: Path) -> bool:
    """Whether all results are there: the rows are written last."""
    return (folder / "rows.json").exists()


def load(folder: Path | str) -> FairRun:
    """Read a finished run from its folder."""
    folder = Path(folder)
    found = (json.loads((folder / f"{name}.json").read_text()) for name in FairRun._fields[1:])
    return FairRun(folder, *found)


def start_process() -> None:
    """What each process does first: it leaves an interrupt to the one that waits for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def do_jobs(
    pool: Executor, bar: tqdm, title: str, work: Callable[..., None], jobs: Iterable[Job]
) -> None:
    """Do the jobs in any order; the bar, called by the title, moves after each."""
    bar.set_description(title)
    for done in as_completed([pool.submit(work, *job) for job in jobs]):
        done.result()  # raises what the job has raised
        bar.update()


def make_jobs(
    experiment: Experiment, parts: Path, name: str, settings: ByRate, count: int, first: int = 0
) -> list[Job]:
    """A job for `train` in each draw: `count` seeds, other ones in each draw, from `first` on."""
    assert experiment.draws
    return [
        (experiment, parts / f"{name}-{draw}.json", draw, settings, range(start, start + count))
        for draw in range(experiment.draws.number)
        for start in [first + draw * count]
    ]


def read_rows(jobs: Iterable[Job]) -> list[Row]:
    """The rows that the jobs have written."""
    return [row for _, path, *_ in jobs for row in json.loads(path.read_text())]


@cache
def load_draw(experiment: Experiment, draw: int) -> Draw:
    """The data of a draw, counted from 0."""
    sizes = experiment.train, experiment.held_out, experiment.test
    return Draw(*(to_device(split, "cpu") for split in mnist1d(*sizes, draw=draw)))


def teach(experiment: Experiment, parts: Path, draw: int) -> None:
    """Write a draw's teacher, unless it is there: its logits of the training set, and its row."""
    path, seed = parts / f"teacher-{draw}.pt", experiment.teacher_seed + draw
    if path.exists():
        return
    data, teacher = load_draw(experiment, draw), build(experiment.teacher, seed)
    learners = {f"the teacher of draw {draw}": Learner(teacher, cross_entropy)}
    trainer = Trainer(learners, data.train, experiment.teacher_recipe, seed)
    fit(trainer, checkpoint := path.with_suffix(".checkpoint"))
    student = build(experiment.student, 0)
    t, s = (predict(network, data.train.inputs) for network in (teacher, student))
    label_weights = [
        {"temperature": tau} | saturation(t, data.train.labels, s, tau)
        for tau in experiment.temperatures
    ]
    seen = (predict(teacher, split.inputs) for split in (data.test, data.held_out))
    row = {"draw": draw, "seed": seed, **measure(data, *seen), "temperatures": label_weights}
    kept = {"logits": t, "row": row, "test_labels": data.test.labels}
    write_atomically(path, partial(torch.save, kept))
    checkpoint.unlink()


def train(
    experiment: Experiment, path: Path, draw: int, settings: ByRate, seeds: Sequence[int]
) -> None:
    """Write the rows of a draw's students, unless they are there."""
    if path.exists():
        return
    origin = {name: getattr(experiment, name) for name in ("dataset", "teacher", "student")}
    origin |= {"draw": draw}
    named = {setting.name: setting for setting in chain(*settings.values())}
    losses = {rate: {s.name: make_loss(s) for s in some} for rate, some in settings.items()}
    teacher_logits = torch.load(path.with_name(f"teacher-{draw}.pt"))["logits"]
    checkpoint = path.with_suffix(".checkpoint")
    data = load_draw(experiment, draw)
    found = train_students(experiment, data, teacher_logits, losses, seeds, checkpoint)
    write_json(path, [origin | named[name]._asdict() | row for name, row in found])
    checkpoint.unlink()


def train_students(
    experiment: Experiment,
    data: Draw,
    teacher_logits: Tensor,
    losses: Mapping[float, Mapping[str, Loss]],
    seeds: Sequence[int],
    checkpoint: Path,
) -> list[tuple[str, Row]]:
    """Train students side by side: for each learning rate, loss and seed one; name and row of each.

    Those of one rate are one stack. The losses have names; a row holds rate, seed, accuracies on
    held-out and test data in percent, and the classes predicted for the test data.
    """
    learners = {}
    for rate, some in losses.items():
        stack = Stack([build(experiment.student, seed) for _ in some for seed in seeds])
        names = tuple(f"{name} at {rate:g} with seed {seed}" for name in some for seed in seeds)
        learners[f"{rate:g}"] = Learner(stack, StackedLoss(list(some.values())), names, rate)
    recipe = experiment.student_recipe
    trainer = Trainer(learners, data.train, recipe, list(seeds), teacher_logits)
    seconds = fit(trainer, checkpoint)
    common = {"epochs": recipe.epochs, "seconds": seconds / len(trainer.names)} | provenance()
    rows = []
    for (rate, some), learner in zip(losses.items(), learners.values(), strict=True):
        tested, unseen = (predict(learner.network, x.inputs) for x in (data.test, data.held_out))
        owners = [(name, seed) for name in some for seed in seeds]
        for (name, seed), on_test, on_held_out in zip(owners, tested, unseen, strict=True):
            row = {"learning_rate": rate, "seed": seed} | measure(data, on_test, on_held_out)
            rows.append((name, row | common | {"predicted": on_test.argmax(dim=-1).tolist()}))
    return rows


def fit(trainer: Trainer, checkpoint: Path) -> float:
    """Train to the end; the seconds it took. A student that diverges ends the comparison."""
    _, seconds = trainer.fit(checkpoint, progress=False)
    for name, place in trainer.diverged.items():
        where = f"in epoch {place['epoch']}, step {place['step']}"
        raise FloatingPointError(f"{name} diverged {where}; a lower learning rate may help")
    return seconds


def measure(data: Draw, on_test: Tensor, on_held_out: Tensor) -> dict[str, float]:
    """Accuracies in percent, of logits [N, C]."""
    top1, top5 = (accuracy(on_test, data.test, k) for k in (1, 5))
    held_out_top1 = accuracy(on_held_out, data.held_out)
    return {"top1": top1, "top5": top5, "held_out_top1": held_out_top1}


def pick(screened: Iterable[Mapping[str, Any]]) -> dict[float, list[Setting]]:
    """Each method's best setting, by the learning rate that is best for it (`pick_trials`)."""
    picked: dict[float, list[Setting]] = {}
    for setting, rate in pick_trials(screened, lambda setting: setting.method).values():
        picked.setdefault(rate, []).append(setting)
    return picked


def record(folder: Path, teachers: list[Job], screened: list[Row], rows: list[Row]) -> None:
    """Write all results, the rows last, and remove the parts."""
    order = list(METHODS)
    rows.sort(key=lambda row: (order.index(row["method"]), row["seed"]))
    write_predictions(folder, [(row, row.pop("predicted")) for row in rows])
    kept = [torch.load(parts / f"teacher-{draw}.pt") for _, parts, draw in teachers]
    np.save(folder / "labels.npy", np.array([own["test_labels"] for own in kept], dtype=np.uint8))
    short = ("draw", *Setting._fields, "learning_rate", "seed", "held_out_top1")
    write_json(folder / "teachers.json", [own["row"] for own in kept])
    write_json(folder / "screen.json", [{key: row[key] for key in short} for row in screened])
    write_json(folder / "rows.json", rows)
    shutil.rmtree(folder / "parts")
