"""The experiment on images: a teacher, then seed by seed its students side by side, recorded.

Every finished part lies in a file of its own, so that a run can go on later or elsewhere: the
teacher in ``OUT/TEACHER`` (other students may share it), a seed's results in ``seed-N.json``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._files import write_atomically, write_json
from ..data import DATASETS
from ..losses import cross_entropy
from ..results.metrics import top_k_accuracy
from ..results.records import STORED_SEED, claim, provenance, round_logits, write_logits
from . import ranks
from .experiment import ImageExperiment, SGDRecipe
from .models import build, count_parameters
from .objectives import warming_loss
from .saturation import saturation
from .speed import latency, throughput
from .train import Images, Learner, predict, to_device, train_together


def train_and_record(
    experiment: ImageExperiment, folder: Path, device: torch.device, progress: bool = True
) -> None:
    """Do what is not done yet, and write all results into `folder`, the rows last.

    Raises
    ------
    FileExistsError
        The folder, or the teacher's, holds a run with other settings.
    FloatingPointError
        A loss is no longer finite; the message says whose and when.
    """
    with ranks.joined(device) as own_device:
        if own_device.type == "cuda":
            torch.backends.cudnn.benchmark = True
        sizes = experiment.train, experiment.held_out, experiment.test
        splits = [to_device(split, own_device) for split in DATASETS[experiment.dataset](*sizes)]
        train, held_out, test = splits
        teacher, history = train_teacher(experiment, train, held_out, folder.parent, progress)
        parts = [
            train_seed(experiment, seed, teacher, (train, held_out, test), folder, progress)
            for seed in range(experiment.seeds)
        ]
        ranks.wait()  # until all have read what the first is about to remove
        if ranks.first():
            np.save(folder / "labels.npy", test.labels.cpu().numpy())
            write_json(folder / "curves.json", [line for part in parts for line in part["curves"]])
            describe_teacher(experiment, teacher, history, (train, held_out, test), folder)
            order = [setting.name for setting in experiment.settings]
            rows = [row for part in parts for row in part["rows"]]
            rows.sort(key=lambda row: order.index(row.pop("setting")))  # stable: seeds in order
            write_json(folder / "rows.json", rows)
            for seed in range(experiment.seeds):
                (folder / f"seed-{seed}.json").unlink()
        ranks.wait()


def train_teacher(
    experiment: ImageExperiment,
    train: Images,
    held_out: Images,
    out: Path,
    progress: bool = True,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train the teacher with cross-entropy, or read it where it is trained already.

    It is kept, and teaches, with its weights rounded to float16: half the file, and the same
    teacher wherever a run goes on.

    Returns
    -------
    teacher : nn.Module
        In evaluation mode, needing no gradient.
    history : list of dict
        For each epoch the training loss, accuracies in percent on watched training images and on
        held-out ones, and `saturation` at temperature 1 as seen by a student that knows nothing
        yet: one with equal logits.
    """
    recipe = experiment.teacher_recipe
    assert isinstance(recipe, SGDRecipe)
    folder = out / experiment.teacher
    wanted = asdict(experiment)
    shared = ("dataset", "teacher", "train", "held_out", "teacher_recipe", "teacher_seed")
    if ranks.first():
        claim(folder, {name: wanted[name] for name in (*shared, "precision")})
    ranks.wait()
    teacher = learning(build(experiment.teacher, experiment.teacher_seed), train)
    finished, checkpoint = folder / "teacher.pt", folder / "teacher.checkpoint"
    if not finished.exists():
        watched, watched_held_out = (
            first(split, experiment.watched) for split in (train, held_out)
        )

        def after_epoch(_: str) -> dict[str, float]:
            seen = predict(teacher, watched.inputs, experiment.precision)
            unseen = predict(teacher, watched_held_out.inputs, experiment.precision)
            return {
                "train_top1": accuracy(seen, watched.labels),
                "held_out_top1": accuracy(unseen, watched_held_out.labels),
            } | saturation(seen, watched.labels, torch.zeros_like(seen))

        found, seconds = train_together(
            {"the teacher": Learner(teacher, loss_without_teacher)},
            train,
            recipe,
            experiment.teacher_seed,
            checkpoint,
            precision=experiment.precision,
            after_epoch=after_epoch,
            label=f"teacher {experiment.teacher}",
            progress=progress,
        )
        if ranks.first():
            kept = {
                "weights": {name: rounded(value) for name, value in teacher.state_dict().items()},
                "history": [line["the teacher"] for line in found],
                "seconds": seconds,
            }
            write_atomically(finished, partial(torch.save, kept))
            checkpoint.unlink()
    ranks.wait()
    kept = torch.load(finished, weights_only=True, map_location="cpu")
    teacher.load_state_dict(kept["weights"])
    return teacher.eval().requires_grad_(False), kept["history"]


def train_seed(
    experiment: ImageExperiment,
    seed: int,
    teacher: nn.Module,
    splits: tuple[Images, Images, Images],
    folder: Path,
    progress: bool = True,
) -> dict[str, Any]:
    """Train the students of one seed side by side, or read what was found of them earlier.

    Returns
    -------
    dict
        `rows`, one for each setting (whose name it has as `setting`), and `curves`, a line for
        each setting and epoch.
    """
    path, checkpoint = folder / f"seed-{seed}.json", folder / f"seed-{seed}.checkpoint"
    if path.exists():
        return json.loads(path.read_text())
    recipe = experiment.student_recipe
    assert isinstance(recipe, SGDRecipe)
    train, held_out, test = splits
    device = train.labels.device
    students = {
        setting.name: learning(build(experiment.student, seed), train)
        for setting in experiment.settings
    }

    watched = first(held_out, experiment.watched)

    def after_epoch(name: str) -> dict[str, float]:
        logits = predict(students[name], watched.inputs, experiment.precision)
        return {"held_out_top1": accuracy(logits, watched.labels)}

    history, seconds = train_together(
        {s.name: Learner(students[s.name], warming_loss(s, device)) for s in experiment.settings},
        train,
        recipe,
        seed,
        checkpoint,
        teacher=teacher,
        precision=experiment.precision,
        after_epoch=after_epoch,
        label=f"seed {seed}, {len(students)} students {experiment.student}",
        progress=progress,
    )
    if ranks.first():
        rows = evaluated(experiment, seed, students, seconds, (held_out, test), folder)
        curves = [
            {**setting._asdict(), "seed": seed, **line[setting.name]}
            for setting in experiment.settings
            for line in history
        ]
        write_json(path, {"rows": rows, "curves": curves})
        checkpoint.unlink()
    ranks.wait()
    return json.loads(path.read_text())


def evaluated(
    experiment: ImageExperiment,
    seed: int,
    students: Mapping[str, nn.Module],
    seconds: float,
    splits: tuple[Images, Images],
    folder: Path,
) -> list[dict[str, Any]]:
    """One row for each setting, whose name it has as `setting`; one seed's logits go into files."""
    held_out, test = splits
    origin = provenance()
    rows = []
    for setting in experiment.settings:
        logits, labels = stored_logits(students[setting.name], test, experiment.precision)
        unseen = stored_logits(students[setting.name], held_out, experiment.precision)
        if seed == STORED_SEED:
            write_logits(folder, setting.name, logits, seed)
        rows.append(
            {
                "setting": setting.name,
                "dataset": experiment.dataset,
                "teacher": experiment.teacher,
                "student": experiment.student,
                "method": setting.method,
                "temperature": setting.temperature,
                "seed": seed,
                "epochs": experiment.student_recipe.epochs,
                "train_images": experiment.train,
                "top1": top_k_accuracy(logits, labels, 1),
                "top5": top_k_accuracy(logits, labels, 5),
                "held_out_top1": top_k_accuracy(*unseen, 1),
                "seconds": seconds / len(students),  # an equal share: they trained together
                "device": device_name(test.labels.device),
                **origin,
            }
        )
    return rows


def describe_teacher(
    experiment: ImageExperiment,
    teacher: nn.Module,
    history: list[dict[str, float]],
    splits: tuple[Images, Images, Images],
    folder: Path,
) -> None:
    """Write ``teacher.json`` and the teacher's test logits; measure what both networks cost."""
    train, held_out, test = splits
    precision = experiment.precision
    test_logits, labels = stored_logits(teacher, test, precision)
    unseen = stored_logits(teacher, held_out, precision)
    write_logits(folder, "teacher", test_logits, experiment.teacher_seed)
    beginner = placed(build(experiment.student, STORED_SEED), train)
    teacher_logits = predict(teacher, train.inputs, precision)
    student_logits = predict(beginner, train.inputs, precision)
    description = {
        "name": experiment.teacher,
        "parameters": count_parameters(teacher),
        "student_parameters": count_parameters(beginner),
        "top1": top_k_accuracy(test_logits, labels, 1),
        "top5": top_k_accuracy(test_logits, labels, 5),
        "held_out_top1": top_k_accuracy(*unseen, 1),
        "temperatures": [
            {"temperature": temperature}
            | saturation(teacher_logits, train.labels, student_logits, temperature)
            for temperature in experiment.temperatures
        ],
        "epochs": history,
        "latency": {
            "teacher": latency(build(experiment.teacher, 0)),
            "student": latency(build(experiment.student, 0)),
        },
        "speed": throughput(experiment, teacher, beginner, train),
    }
    write_json(folder / "teacher.json", description)


def first(split: Images, count: int) -> Images:
    """The first so many of a split."""
    return Images(*(part[:count] for part in split))


def loss_without_teacher(student_logits: Tensor, _: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, called as the losses of students are."""
    return cross_entropy(student_logits, labels)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1 in percent."""
    return top_k_accuracy(logits.cpu().numpy(), labels.cpu().numpy(), 1)


def stored_logits(
    network: nn.Module, split: Images, precision: str
) -> tuple[np.ndarray, np.ndarray]:
    """Logits as they are stored, and labels: what is recorded is computed after the rounding."""
    logits = round_logits(predict(network, split.inputs, precision).cpu().numpy())
    return logits, split.labels.cpu().numpy()


def placed(network: nn.Module, train: Images) -> nn.Module:
    """On the device of the images, in the memory format that convolutions like best."""
    return network.to(train.labels.device).to(memory_format=torch.channels_last)


def learning(network: nn.Module, train: Images) -> nn.Module:
    """The network `placed`, and ready to be trained by several processes."""
    return ranks.with_shared_statistics(placed(network, train))


def rounded(values: Tensor) -> Tensor:
    """Weights of convolutions and linear layers as float16; biases and statistics as they are."""
    return values.half() if values.ndim > 1 else values


def device_name(device: torch.device) -> str:
    """``cpu``, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
