"""The experiment: train a teacher, then its students side by side, and record them.

Every finished part lies in a file of its own, so that a run can go on later, or in several
processes: the teacher in ``teacher.pt``, the students of a job in ``seed-N.json`` until
`Record.gather` adds them to the results.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._files import write_atomically, write_json
from ..data import DATASETS, DataError
from ..results.methods import Setting
from . import jobs
from .cuda_graph import CaptureError, can_capture
from .experiment import Experiment, Recipe
from .networks import Stack, build
from .objectives import Loss, StackedLoss, cross_entropy, make_loss
from .record import Owners, Record, Row, accuracy, pick_trials
from .saturation import saturation
from .stopping import Stop
from .train import Learner, Samples, Trainer, predict, to_device

# What `run` raises if what was asked for is not possible.
NOT_POSSIBLE = DataError, CaptureError, FileExistsError


class Run(NamedTuple):
    """A run's folder, one row for each student, and a description of the teacher."""

    folder: Path
    rows: list[Row]
    teacher: dict[str, Any]


def run(
    experiment: Experiment,
    out: Path | str,
    *,
    progress: bool = True,
    device: torch.device | str | None = None,
    minutes: float | None = None,
    graphs: str = "auto",
) -> Run:
    """Do an experiment; go on with it if it was interrupted; only read it if it is finished.

    Results are written after each job. An experiment with more seeds than a run has adds to it; one
    with fewer is finished, and reads the first of them.

    Parameters
    ----------
    experiment : Experiment
    out : path
        Results go into its folder ``TEACHER-STUDENT``; a teacher of images, which other students
        may share, into ``TEACHER``.
    progress : bool
        Whether to show progress bars, on stderr.
    device : torch.device or str, optional
        Where networks for images are trained, as in `resolve_device`. Those for MNIST-1D are too
        small for anything but one CPU core.
    minutes : float, optional
        Stop the training when they are over.
    graphs : {"auto", "require", "off"}
        Whether steps on a GPU are captured as a CUDA graph; if that fails, "auto" warns, and
        "require" is a CaptureError, as it is on another device.

    Raises
    ------
    FileExistsError
        The folder, or the teacher's, holds a run with settings that differ in more than seeds.
    FloatingPointError
        The teacher diverged; the message says when. A student that did is recorded as such.
    OutOfTime, KeyboardInterrupt
        The minutes are over, or somebody interrupted: all that is done is saved.
    """
    folder = run_folder(experiment, out)
    jobs.claim(folder, experiment.note)
    if is_finished(experiment, folder):
        return load(folder, experiment.seeds)
    device = resolve_device(device if experiment.images else "cpu")
    if graphs == "require" and not can_capture(device):
        raise CaptureError(f"there are no CUDA graphs on the device {device}")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    threads = torch.get_num_threads()
    if not experiment.images:  # small tensors: threads that share them would wait for each other
        torch.set_num_threads(1)
    try:
        all_jobs = split_into_jobs(experiment, folder)
        if own := jobs.share(all_jobs):
            progress = progress and jobs.is_first()
            stop = Stop(minutes)
            distillation = Distillation(experiment, folder, device, progress, stop, graphs)
            distillation.work(own, all_jobs)
        jobs.wait_until(partial(is_finished, experiment, folder))
    finally:
        torch.set_num_threads(threads)
    return load(folder, experiment.seeds)


def split_into_jobs(experiment: Experiment, folder: Path) -> list[list[int]]:
    """The seeds of each job: of images one each, whether done or not, so that all processes agree.

    All students of MNIST-1D that are still to be trained are one stacked network, and one job.
    """
    if experiment.images:
        return [[seed] for seed in range(experiment.seeds)]
    return [sorted({*range(experiment.seeds)} - recorded_seeds(folder))]


def resolve_device(device: torch.device | str | None) -> torch.device:
    """The device asked for; if none is, CUDA if there is a GPU, otherwise the CPU.

    Of several GPUs each process of `torchrun` has its own. No such device is a ValueError.
    """
    has_gpu = torch.cuda.is_available()
    try:
        found = torch.device(device or ("cuda" if has_gpu else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"device must be cpu, cuda, ..., got {device!r}") from error
    if found.type == "cuda" and not has_gpu:
        raise ValueError("PyTorch sees no GPU here; the device cpu always works")
    if found.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return found


def run_folder(experiment: Experiment, out: Path | str) -> Path:
    """``OUT/TEACHER-STUDENT``."""
    return Path(out) / f"{experiment.teacher}-{experiment.student}"


def recorded_seeds(folder: Path) -> set[int]:
    """The seeds whose rows are there; those of a job are written together."""
    path = folder / "rows.json"
    return {row["seed"] for row in json.loads(path.read_text())} if path.exists() else set()


def is_finished(experiment: Experiment, folder: Path) -> bool:
    """Whether there are rows of all seeds."""
    return recorded_seeds(folder) >= {*range(experiment.seeds)}


def load(folder: Path | str, seeds: int | None = None) -> Run:
    """Read a run from its folder ``OUT/TEACHER-STUDENT``, or the first so many seeds of it."""
    folder = Path(folder)
    rows, teacher = (json.loads((folder / f"{name}.json").read_text()) for name in Run._fields[1:])
    return Run(folder, [row for row in rows if seeds is None or row["seed"] < seeds], teacher)


class Distillation:
    """An experiment under way: its data on a device, and the folders for its parts and results.

    A teacher of images has a folder of its own, `home`, so that other students may share it.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        device: torch.device | str = "cpu",
        progress: bool = True,
        stop: Stop | None = None,
        graphs: str = "auto",
    ) -> None:
        self.experiment, self.folder, self.progress = experiment, folder, progress
        self.stop, self.graphs = stop, graphs
        self.home = folder.parent / experiment.teacher if experiment.images else folder
        if not jobs.is_first():
            jobs.wait_for(self.home / "teacher.pt")  # by then the data set is downloaded as well
        sizes = experiment.train, experiment.held_out, experiment.test
        splits = [to_device(split, device) for split in DATASETS[experiment.dataset](*sizes)]
        self.train, self.held_out, self.test = splits
        self.device = self.train.labels.device
        self.record = Record(experiment, folder, *splits)
        recipe = experiment.student_recipe
        self.rates = dict.fromkeys(experiment.settings, recipe.learning_rate)

    def work(self, own: Sequence[list[int]], all_jobs: Sequence[list[int]]) -> None:
        """Do the own jobs of this process; the first one gathers the results of all."""
        teacher, history = self.train_teacher()
        if jobs.is_first():
            self.record.describe(teacher, self.build(self.experiment.student, 0), history)
        self.pick_rates(teacher)
        for job in own:
            if not self.is_done(job):
                self.train_students(job, teacher)
            if jobs.is_first():
                self.record.gather()
        if jobs.is_first():
            for job in all_jobs:
                jobs.wait_until(partial(self.is_done, job))
                self.record.gather()

    def is_done(self, seeds: Sequence[int]) -> bool:
        """Whether the students of a job are trained: among the results, or in their file."""
        return self.part(seeds).exists() or recorded_seeds(self.folder) >= {*seeds}

    def train_teacher(self) -> tuple[nn.Module, list[Row]]:
        """Train the teacher with cross-entropy, or read its ``teacher.pt``; and its history.

        Each epoch's line has the training loss, accuracies in percent on the samples of learning
        curves, and `saturation` at temperature 1 as the untrained student of seed 0 sees it. A
        teacher of images is kept for other students, rounded to float16, and its saturation is
        what a student with equal logits sees.
        """
        experiment, seed = self.experiment, self.experiment.teacher_seed
        if images := experiment.images:
            shared, note = ("dataset", "train", "held_out", "precision"), experiment.note.items()
            own = {k: v for k, v in note if k in shared or k.startswith("teacher")}
            jobs.claim(self.home, own)
        teacher = self.build(experiment.teacher, seed)
        finished, checkpoint = (self.home / f"teacher.{kind}" for kind in ("pt", "checkpoint"))
        if not finished.exists():
            seen, untrained_student = self.first(self.train), self.build(experiment.student, 0)

            def after_epoch(_: str) -> dict[str, float]:
                t = predict(teacher, seen.inputs)
                s = torch.zeros_like(t) if images else predict(untrained_student, seen.inputs)
                accuracies = {"train_top1": accuracy(t, seen)} | self.held_out_accuracy(teacher)
                return accuracies | saturation(t, seen.labels, s)

            learners = {"the teacher": Learner(teacher, cross_entropy)}
            recipe, label = experiment.teacher_recipe, f"teacher {experiment.teacher}"
            trainer = self.make_trainer(learners, recipe, seed, None)
            found, _ = trainer.fit(checkpoint, after_epoch, label, self.progress, self.stop)
            for name, place in trainer.diverged.items():
                raise FloatingPointError(
                    f"the loss of {name} is no longer finite in epoch {place['epoch']}, step "
                    f"{place['step']}; a lower learning rate may help"
                )
            weights = teacher.state_dict()
            if images:  # convolutions and linear layers; biases and statistics stay as they are
                weights = {k: v.half() if v.ndim > 1 else v for k, v in weights.items()}
            kept = {"weights": weights, "history": [line["the teacher"] for line in found]}
            write_atomically(finished, partial(torch.save, kept))
            checkpoint.unlink()
        kept = torch.load(finished, weights_only=True, map_location="cpu")
        teacher.load_state_dict(kept["weights"])
        return teacher.eval().requires_grad_(False), kept["history"]

    def pick_rates(self, teacher: nn.Module) -> None:
        """If the experiment has a screen, pick the students' learning rate for each setting by it.

        One student of each setting is trained at each rate. Their held-out accuracies go into
        ``screen.json``, null for one that diverged; the best one has the rate that is picked, the
        first of equals.
        """
        experiment, screen = self.experiment, self.experiment.screen
        if screen is None:
            return
        path = self.folder / "screen.json"
        if jobs.is_first() and not path.exists():
            trials = [(s, rate) for s in experiment.settings for rate in screen.learning_rates]
            learners = {
                f"{s.name} at {rate:g}": Learner(
                    self.build(experiment.student, screen.seed),
                    self.make_loss(s),
                    learning_rate=rate,
                )
                for s, rate in trials
            }
            recipe = replace(experiment.student_recipe, epochs=screen.epochs)
            trainer = self.make_trainer(learners, recipe, screen.seed, teacher)
            checkpoint, label = path.with_suffix(".checkpoint"), "learning rates"
            trainer.fit(checkpoint, None, label, self.progress, self.stop)
            rows = []
            for (s, rate), (name, learner) in zip(trials, learners.items(), strict=True):
                row = {**s._asdict(), "learning_rate": rate, "seed": screen.seed}
                logits = predict(learner.network, self.held_out.inputs)
                found = None if name in trainer.diverged else accuracy(logits, self.held_out)
                rows.append(row | {"epochs": screen.epochs, "held_out_top1": found})
            write_json(path, rows)
            checkpoint.unlink()
        jobs.wait_for(path)
        picked = pick_trials(json.loads(path.read_text()), lambda setting: setting)
        self.rates = dict(picked.values())

    def train_students(self, seeds: Sequence[int], teacher: nn.Module) -> None:
        """Train the students of one job, evaluate them, and write its file."""
        path = self.part(seeds)
        experiment, images = self.experiment, self.experiment.images
        owners = {f"{s.name} with seed {k}": (s, k) for s in experiment.settings for k in seeds}
        learners = self.make_learners(owners)
        recipe, seed = experiment.student_recipe, seeds[0] if images else seeds
        # A teacher of images sees other crops in each step.
        source = teacher if images else predict(teacher, self.train.inputs)
        trainer = self.make_trainer(learners, recipe, seed, source)
        label = f"{len(owners)} students" + f" of seed {seeds[0]}" * images
        checkpoint = path.with_suffix(".checkpoint")
        measure = (lambda name: self.held_out_accuracy(learners[name].network)) if images else None
        history, _ = trainer.fit(checkpoint, measure, label, self.progress, self.stop)
        curves = [
            {**setting._asdict(), "seed": seed, **line[name]}
            for name, (setting, seed) in owners.items()
            for line in history
            if name in line
        ]
        rows = self.record.make_rows(owners, trainer, self.rates)
        write_json(path, {"rows": rows, "curves": curves})
        checkpoint.unlink()

    def make_learners(self, owners: Owners) -> dict[str, Learner]:
        """Untrained students: of images one network each, otherwise one stack of all."""
        networks = [self.build(self.experiment.student, seed) for _, seed in owners.values()]
        if not self.experiment.images:
            loss = StackedLoss([self.make_loss(setting) for setting in self.experiment.settings])
            return {"students": Learner(Stack(networks), loss, tuple(owners))}
        return {
            name: Learner(network, self.make_loss(setting), learning_rate=self.rates[setting])
            for (name, (setting, _)), network in zip(owners.items(), networks, strict=True)
        }

    def make_trainer(
        self,
        learners: dict[str, Learner],
        recipe: Recipe,
        seed: int | Sequence[int],
        teacher: nn.Module | Tensor | None,
    ) -> Trainer:
        """For the training data, as `Trainer` says."""
        how = self.experiment.precision, self.graphs
        return Trainer(learners, self.train, recipe, seed, teacher, *how)

    def make_loss(self, setting: Setting) -> Loss:
        """The loss of a setting, for this pair of networks."""
        return make_loss(setting, self.experiment.dkd_beta)

    def part(self, seeds: Sequence[int]) -> Path:
        """The file of a job, ``seed-0.json``, or ``seed-0-9.json`` for several seeds."""
        return self.folder / f"seed-{'-'.join(map(str, sorted({seeds[0], seeds[-1]})))}.json"

    def build(self, name: str, seed: int) -> nn.Module:
        """A network on the device, in the memory format that convolutions of images like best."""
        return build(name, seed).to(self.device).to(memory_format=torch.channels_last)

    def first(self, data: Samples) -> Samples:
        """The samples of learning curves."""
        return Samples(*(part[: self.experiment.curve_samples] for part in data))

    def held_out_accuracy(self, network: nn.Module) -> dict[str, float]:
        """Top-1 in percent, on the samples of learning curves."""
        unseen = self.first(self.held_out)
        return {"held_out_top1": accuracy(predict(network, unseen.inputs), unseen)}
