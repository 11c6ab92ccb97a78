"""The experiment: train a teacher, then its students side by side, and record them.

Every finished part lies in a file of its own, so that a run can go on later, or in several
processes: the teacher in ``teacher.pt``, the students of a job in ``seed-N.json``. The students of
a seed see the same batches from the same weights: methods differ in their loss and in nothing else.
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .._files import write_atomically, write_json
from ..data import DATASETS
from ..results.methods import Setting
from ..results.metrics import top_k_accuracy
from ..results.records import STORED_SEED, provenance, round_logits, write_logits
from . import jobs
from .experiment import Experiment
from .networks import Stack, build, count_parameters
from .objectives import CrossEntropy, StackedLoss, make_loss
from .saturation import saturation
from .train import Learner, Samples, Trainer, predict, to_device

Splits = tuple[Samples, Samples, Samples]  # training, held-out and test data
Owners = dict[str, tuple[Setting, int]]  # the setting and seed of each student, by its name


class Run(NamedTuple):
    """A finished run: its folder, one row for each student, and a description of the teacher."""

    folder: Path
    rows: list[dict[str, Any]]
    teacher: dict[str, Any]


def run(
    experiment: Experiment,
    out: Path | str,
    *,
    progress: bool = True,
    device: torch.device | str | None = None,
) -> Run:
    """Do an experiment; go on with it if it was interrupted; only read it if it is finished.

    Parameters
    ----------
    experiment : Experiment
    out : path
        Everything is written into its folder ``TEACHER-STUDENT``; a teacher of images, which other
        students may share, into ``TEACHER``.
    progress : bool
        Whether to show progress bars, on stderr.
    device : torch.device or str, optional
        Where networks for images are trained: CUDA if there is a GPU, otherwise the CPU. Those for
        MNIST-1D are too small for anything but one CPU core.

    Returns
    -------
    Run

    Raises
    ------
    FileExistsError
        The folder, or the teacher's, holds a run with other settings.
    FloatingPointError
        A loss is no longer finite; the message says whose and when.
    """
    folder = run_folder(experiment, out)
    jobs.claim(folder, experiment.note)
    if is_finished(folder):
        return load(folder)
    threads = torch.get_num_threads()
    if experiment.images:
        device = resolve_device(device)
    else:  # small tensors: threads that share them would wait for each other
        device = torch.device("cpu")
        torch.set_num_threads(1)
    try:
        train_and_record(experiment, folder, device, progress and jobs.is_first())
    finally:
        torch.set_num_threads(threads)
    return load(folder)


def resolve_device(device: torch.device | str | None) -> torch.device:
    """The device asked for; if none is, CUDA if there is a GPU, otherwise the CPU.

    Of several GPUs each process that `torchrun` starts has its own.

    Raises
    ------
    ValueError
        There is no such device.
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


def is_finished(folder: Path) -> bool:
    """Whether all results are there: the rows are written last."""
    return (folder / "rows.json").exists()


def load(folder: Path | str) -> Run:
    """Read a finished run from its folder ``OUT/TEACHER-STUDENT``."""
    folder = Path(folder)
    rows, teacher = (json.loads((folder / f"{name}.json").read_text()) for name in Run._fields[1:])
    return Run(folder, rows, teacher)


def load_splits(experiment: Experiment, device: torch.device | str = "cpu") -> Splits:
    """Training, held-out and test data as tensors."""
    sizes = experiment.train, experiment.held_out, experiment.test
    train, held_out, test = (to_device(s, device) for s in DATASETS[experiment.dataset](*sizes))
    return train, held_out, test


def train_and_record(
    experiment: Experiment, folder: Path, device: torch.device, progress: bool
) -> None:
    """Do this process's share of what is not done yet; the first writes all results."""
    # All students of MNIST-1D are one stacked network, and one job.
    seeds = range(experiment.seeds)
    all_jobs = [[seed] for seed in seeds] if experiment.images else [list(seeds)]
    own = jobs.share(all_jobs)
    if not own:
        return jobs.wait_for(folder / "rows.json")
    home = folder.parent / experiment.teacher if experiment.images else folder
    if not jobs.is_first():
        jobs.wait_for(home / "teacher.pt")  # by then the data set is downloaded, too
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    splits = load_splits(experiment, device)
    teacher, history = train_teacher(experiment, *splits[:2], home, progress)
    for job in own:
        train_students(experiment, job, teacher, splits, folder, progress)
    if not jobs.is_first():
        return jobs.wait_for(folder / "rows.json")
    parts = [folder / f"seed-{job[0]}.json" for job in all_jobs]
    for part in parts:
        jobs.wait_for(part)
    describe_teacher(experiment, teacher, history, splits, folder)
    gather(experiment, parts, folder)
    for leftover in (*parts, *folder.glob("teacher.pt")):
        leftover.unlink()


def train_teacher(
    experiment: Experiment, train: Samples, held_out: Samples, home: Path, progress: bool = True
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train the teacher with cross-entropy, or read its ``teacher.pt`` in the folder `home`.

    A teacher of images has a folder of its own, which other students may share. It teaches with
    its weights rounded to float16, as they are kept: half the file.

    Returns
    -------
    teacher : nn.Module
        In evaluation mode, needing no gradient.
    history : list of dict
        For each epoch the training loss, accuracies in percent on the samples of learning curves,
        and `saturation` at temperature 1 as the untrained student of seed 0 sees it, or, if other
        students may share the teacher, one with equal logits.
    """
    precision, device, images = experiment.precision, train.labels.device, experiment.images
    if images:
        shared = "dataset", "teacher", "train", "held_out", "teacher_recipe", "teacher_seed"
        jobs.claim(home, {name: experiment.note[name] for name in (*shared, "precision")})
    teacher = to_channels_last(build(experiment.teacher, experiment.teacher_seed), device)
    finished, checkpoint = home / "teacher.pt", home / "teacher.checkpoint"
    if not finished.exists():
        seen, unseen = (first(data, experiment.curve_samples) for data in (train, held_out))
        untrained_student = build(experiment.student, 0)

        def after_epoch(_: str) -> dict[str, float]:
            t = predict(teacher, seen.inputs, precision)
            s = torch.zeros_like(t) if images else predict(untrained_student, seen.inputs)
            accuracies = {
                "train_top1": accuracy(t, seen.labels),
                "held_out_top1": accuracy(
                    predict(teacher, unseen.inputs, precision), unseen.labels
                ),
            }
            return accuracies | saturation(t, seen.labels, s)

        recipe, seed = experiment.teacher_recipe, experiment.teacher_seed
        learners = {"the teacher": Learner(teacher, CrossEntropy())}
        trainer = Trainer(learners, train, recipe, seed, precision=precision)
        label = f"teacher {experiment.teacher}"
        found, _ = trainer.fit(checkpoint, after_epoch=after_epoch, label=label, progress=progress)
        weights = teacher.state_dict()
        if images:
            weights = {name: to_float16(value) for name, value in weights.items()}
        kept = {"weights": weights, "history": [line["the teacher"] for line in found]}
        write_atomically(finished, partial(torch.save, kept))
        checkpoint.unlink()
    kept = torch.load(finished, weights_only=True, map_location="cpu")
    teacher.load_state_dict(kept["weights"])
    return teacher.eval().requires_grad_(False), kept["history"]


def train_students(
    experiment: Experiment,
    seeds: Sequence[int],
    teacher: nn.Module,
    splits: Splits,
    folder: Path,
    progress: bool = True,
) -> None:
    """Write the file of one job, unless it is there: train its students, evaluate them."""
    path, checkpoint = (folder / f"seed-{seeds[0]}.{kind}" for kind in ("json", "checkpoint"))
    if path.exists():
        return
    (train, held_out, _), images, precision = splits, experiment.images, experiment.precision
    owners = {f"{s.name} with seed {k}": (s, k) for s in experiment.settings for k in seeds}
    learners = make_learners(experiment, owners, train.labels.device)
    unseen = first(held_out, experiment.curve_samples)

    def after_epoch(name: str) -> dict[str, float]:
        logits = predict(learners[name].network, unseen.inputs, precision)
        return {"held_out_top1": accuracy(logits, unseen.labels)}

    trainer = Trainer(
        learners,
        train,
        experiment.student_recipe,
        seeds[0] if images else seeds,
        teacher if images else predict(teacher, train.inputs, precision),
        precision,
    )
    history, seconds = trainer.fit(
        checkpoint,
        after_epoch=after_epoch if images else None,
        label=f"seed {seeds[0]}, {len(owners)} students" if images else f"{len(owners)} students",
        progress=progress,
    )
    curves = [
        {**setting._asdict(), "seed": seed, **line[name]}
        for name, (setting, seed) in owners.items()
        for line in history
    ]
    rows = evaluate(experiment, owners, learners, seconds, splits, folder)
    write_json(path, {"rows": rows, "curves": curves})
    checkpoint.unlink()


def make_learners(
    experiment: Experiment, owners: Owners, device: torch.device
) -> dict[str, Learner]:
    """Students at their initial weights: of images one network each, otherwise one stack of all."""
    networks = [build(experiment.student, seed) for _, seed in owners.values()]
    if not experiment.images:
        loss = StackedLoss([make_loss(setting) for setting in experiment.settings])
        return {"students": Learner(Stack(networks), loss, tuple(owners))}
    return {
        name: Learner(to_channels_last(network, device), make_loss(setting))
        for (name, (setting, _)), network in zip(owners.items(), networks, strict=True)
    }


def evaluate(
    experiment: Experiment,
    owners: Owners,
    learners: Mapping[str, Learner],
    seconds: float,
    splits: Splits,
    folder: Path,
) -> list[dict[str, Any]]:
    """One row for each student; the test logits of one seed go into files."""
    _, held_out, test = splits
    held_out_labels, labels = held_out.labels.cpu().numpy(), test.labels.cpu().numpy()
    held_out_logits, test_logits = (
        np.concatenate(
            [stored_logits(own.network, data, experiment.precision) for own in learners.values()]
        )
        for data in (held_out, test)
    )
    device = test.labels.device
    on_gpu = device.type == "cuda"
    origin = {"device": torch.cuda.get_device_name(device) if on_gpu else "cpu", **provenance()}
    rows = []
    for place, (setting, seed) in enumerate(owners.values()):
        if seed == STORED_SEED:
            write_logits(folder, setting.name, test_logits[place], seed)
        row = {
            "dataset": experiment.dataset,
            "teacher": experiment.teacher,
            "student": experiment.student,
            "method": setting.method,
            "temperature": setting.temperature,
            "seed": seed,
            "epochs": experiment.student_recipe.epochs,
            "top1": top_k_accuracy(test_logits[place], labels, 1),
            "top5": top_k_accuracy(test_logits[place], labels, 5),
            "held_out_top1": top_k_accuracy(held_out_logits[place], held_out_labels, 1),
            "seconds": seconds / len(owners),  # an equal share: they trained together
        }
        rows.append(row | origin)
    return rows


def describe_teacher(
    experiment: Experiment,
    teacher: nn.Module,
    history: list[dict[str, float]],
    splits: Splits,
    folder: Path,
) -> None:
    """Write ``teacher.json``, the teacher's test logits, and the labels."""
    train, held_out, test = splits
    precision, labels = experiment.precision, test.labels.cpu().numpy()
    ((logits,), (unseen,)) = (stored_logits(teacher, data, precision) for data in (test, held_out))
    np.save(folder / "labels.npy", labels)
    write_logits(folder, "teacher", logits, experiment.teacher_seed)
    untrained_student = to_channels_last(build(experiment.student, 0), train.labels.device)
    t, s = (predict(network, train.inputs, precision) for network in (teacher, untrained_student))
    description = {
        "name": experiment.teacher,
        "parameters": count_parameters(teacher),
        "student_parameters": count_parameters(untrained_student),
        "top1": top_k_accuracy(logits, labels, 1),
        "top5": top_k_accuracy(logits, labels, 5),
        "held_out_top1": top_k_accuracy(unseen, held_out.labels.cpu().numpy(), 1),
        "temperatures": [
            {"temperature": tau} | saturation(t, train.labels, s, tau)
            for tau in experiment.temperatures
        ],
        "epochs": history,
    }
    write_json(folder / "teacher.json", description)


def gather(experiment: Experiment, parts: Sequence[Path], folder: Path) -> None:
    """Write the curves of images, and the rows of all jobs, setting by setting; the rows last."""
    found = [json.loads(part.read_text()) for part in parts]
    if experiment.images:
        write_json(folder / "curves.json", [line for part in found for line in part["curves"]])
    order = experiment.settings
    rows = [row for part in found for row in part["rows"]]
    rows.sort(key=lambda row: order.index(Setting(row["method"], row["temperature"])))
    write_json(folder / "rows.json", rows)


def first(data: Samples, count: int | None) -> Samples:
    """The first so many samples, or all."""
    return Samples(*(part[:count] for part in data))


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1 in percent."""
    return top_k_accuracy(logits.cpu().numpy(), labels.cpu().numpy(), 1)


def stored_logits(network: nn.Module, data: Samples, precision: str | None) -> np.ndarray:
    """Logits [S, N, C] of a `Stack`, or [1, N, C], rounded as they are stored.

    What is recorded is computed from these, so whoever reads the files finds the same accuracies.
    """
    logits = predict(network, data.inputs, precision)
    return round_logits(logits.reshape(-1, *logits.shape[-2:]).cpu().numpy())


def to_channels_last(network: nn.Module, device: torch.device) -> nn.Module:
    """On the device, in the memory format that convolutions of images like best."""
    return network.to(device).to(memory_format=torch.channels_last)


def to_float16(values: Tensor) -> Tensor:
    """Weights of convolutions and linear layers as float16; biases and statistics as they are."""
    return values.half() if values.ndim > 1 else values
