"""The experiment: train a teacher, then all its students side by side, and record them.

The students (every method, temperature and seed) are one stacked model. Those of one seed see the
same batches and start from the same weights: methods differ in their loss and in nothing else.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import losses
from .._files import write_json
from ..data import DATASETS
from ..results.methods import Setting
from ..results.metrics import top_k_accuracy
from ..results.records import STORED_SEED, claim, provenance, round_logits, write_logits
from . import images as distill_images
from . import ranks
from .experiment import Experiment, ImageExperiment
from .models import StackedMLP, build, count_parameters
from .objectives import make_loss
from .saturation import saturation
from .training import batches, fit


class Split(NamedTuple):
    """Inputs [N, ...] and labels [N]."""

    inputs: Tensor
    labels: Tensor


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
        Everything is written into its folder ``TEACHER-STUDENT``.
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
        The folder holds a run with other settings.
    FloatingPointError
        A loss is no longer finite; the message says whose and when.
    """
    folder = run_folder(experiment, out)
    if ranks.first():
        claim(folder, asdict(experiment))
    if is_finished(folder):
        return load(folder)
    if isinstance(experiment, ImageExperiment):
        distill_images.train_and_record(experiment, folder, chosen(device), progress)
    else:
        with _one_thread():
            _train_and_record(experiment, folder, progress)
    return load(folder)


def chosen(device: torch.device | str | None) -> torch.device:
    """The device asked for; if none is, CUDA if there is a GPU, otherwise the CPU.

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


def load_splits(experiment: Experiment) -> tuple[Split, Split, Split]:
    """Training, held-out and test data as tensors."""
    sizes = experiment.train, experiment.held_out, experiment.test
    splits = DATASETS[experiment.dataset](*sizes)
    train, held_out, test = (Split(*map(torch.from_numpy, split)) for split in splits)
    return train, held_out, test


def train_teacher(
    experiment: Experiment, train: Split, held_out: Split, checkpoint: Path, progress: bool = True
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train the teacher with cross-entropy, and watch its weight of the label saturate.

    Returns
    -------
    teacher : nn.Module
    history : list of dict
        For each epoch the accuracies in percent, and `saturation` at temperature 1 as seen by the
        student of seed 0 at its initial weights.

    Raises
    ------
    FloatingPointError
        A logit is no longer finite.
    """
    teacher = build(experiment.teacher, experiment.teacher_seed)
    recipe = experiment.teacher_recipe
    student_logits = predict(build(experiment.student, 0), train.inputs)

    def epoch_losses(epoch: int) -> Iterator[Tensor]:
        order = batches(experiment.teacher_seed, epoch, len(train.labels), recipe.batch_size)
        for step, rows in enumerate(order):
            logits = teacher(train.inputs[rows])
            if not logits.isfinite().all():
                raise FloatingPointError(
                    f"a logit of the teacher is no longer finite in epoch {epoch + 1}, "
                    f"step {step + 1}; a lower learning rate may help"
                )
            yield losses.cross_entropy(logits, train.labels[rows])

    def after_epoch() -> dict[str, float]:
        on_train = predict(teacher, train.inputs)
        on_held_out = predict(teacher, held_out.inputs)
        return {
            "train_top1": top_k_accuracy(on_train.numpy(), train.labels.numpy(), 1),
            "held_out_top1": top_k_accuracy(on_held_out.numpy(), held_out.labels.numpy(), 1),
        } | saturation(on_train, train.labels, student_logits)

    history, _ = fit(
        teacher,
        epoch_losses,
        recipe,
        len(train.labels) // recipe.batch_size,
        checkpoint,
        after_epoch=after_epoch,
        label="teacher ",
        progress=progress,
    )
    return teacher, history


def train_students(
    experiment: Experiment,
    train: Split,
    teacher_logits: Tensor,
    checkpoint: Path,
    progress: bool = True,
) -> tuple[StackedMLP, float]:
    """Train every student at once.

    Parameters
    ----------
    experiment : Experiment
    train : Split
    teacher_logits : Tensor [N, C]
        The teacher's on `train`.
    checkpoint : Path
    progress : bool

    Returns
    -------
    students : StackedMLP
        In the order of `experiment.settings`, and within a setting of the seeds.
    seconds : float

    Raises
    ------
    FloatingPointError
        A loss is no longer finite.
    """
    settings, seeds, recipe = experiment.settings, experiment.seeds, experiment.student_recipe
    beginners = [build(experiment.student, seed) for seed in range(seeds)]
    students = StackedMLP(beginners * len(settings))
    # DIST is one value for a whole batch, so no loss may see two students at a time.
    student_losses = [torch.vmap(make_loss(setting)) for setting in settings]

    def epoch_losses(epoch: int) -> Iterator[Tensor]:
        orders = [
            batches(seed, epoch, len(train.labels), recipe.batch_size) for seed in range(seeds)
        ]
        for step, rows in enumerate(np.stack(orders, axis=1)):  # [seeds, batch]
            inputs, labels, soft = train.inputs[rows], train.labels[rows], teacher_logits[rows]
            logits = students(inputs.repeat(len(settings), 1, 1)).unflatten(0, (-1, seeds))
            values = torch.stack(
                [
                    loss(hard, soft, labels)
                    for loss, hard in zip(student_losses, logits, strict=True)
                ]
            )
            _check_finite(values, settings, epoch, step)
            yield values.sum()

    _, seconds = fit(
        students,
        epoch_losses,
        recipe,
        len(train.labels) // recipe.batch_size,
        checkpoint,
        label="students",
        progress=progress,
    )
    return students, seconds


def predict(model: nn.Module, inputs: Tensor) -> Tensor:
    """Logits [N, C], or [S, N, C] from a stack, of inputs [N, ...], in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(chunk) for chunk in inputs.split(1000)], dim=-2)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One core: the tensors are small, and threads that share them wait for each other.

    On a machine that is busy otherwise they waited twenty times as long as they worked.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check_finite(values: Tensor, settings: list[Setting], epoch: int, step: int) -> None:
    """Refuse to go on with a loss, [settings, seeds], that is NaN or infinite."""
    if not values.isfinite().all():
        place, seed = (~values.isfinite()).nonzero()[0].tolist()
        raise FloatingPointError(
            f"the loss of {settings[place].name} with seed {seed} became "
            f"{values[place, seed].item()} in epoch {epoch + 1}, step {step + 1}; "
            "a lower learning rate may help"
        )


def _train_and_record(experiment: Experiment, folder: Path, progress: bool) -> None:
    train, held_out, test = load_splits(experiment)
    checkpoints = folder / "teacher.checkpoint", folder / "students.checkpoint"
    teacher, history = train_teacher(experiment, train, held_out, checkpoints[0], progress)
    teacher_logits = predict(teacher, train.inputs)
    students, seconds = train_students(experiment, train, teacher_logits, checkpoints[1], progress)

    np.save(folder / "labels.npy", test.labels.numpy())
    test_logits = round_logits(predict(teacher, test.inputs).numpy())
    write_logits(folder, "teacher", test_logits, experiment.teacher_seed)
    beginner = build(experiment.student, STORED_SEED)
    student_logits = predict(beginner, train.inputs)
    description = {
        "name": experiment.teacher,
        "parameters": count_parameters(teacher),
        "student_parameters": count_parameters(beginner),
        "top1": top_k_accuracy(test_logits, test.labels.numpy(), 1),
        "temperatures": [
            {"temperature": temperature}
            | saturation(teacher_logits, train.labels, student_logits, temperature)
            for temperature in experiment.temperatures
        ],
        "epochs": history,
    }
    write_json(folder / "teacher.json", description)
    rows = _record_students(experiment, students, seconds, held_out, test, folder)
    write_json(folder / "rows.json", rows)
    for checkpoint in checkpoints:
        checkpoint.unlink()


def _record_students(
    experiment: Experiment,
    students: StackedMLP,
    seconds: float,
    held_out: Split,
    test: Split,
    folder: Path,
) -> list[dict[str, Any]]:
    """One row for each student; the test logits of one seed go into files."""
    owners = [
        (setting, seed) for setting in experiment.settings for seed in range(experiment.seeds)
    ]
    origin = provenance()
    held_out_labels, labels = held_out.labels.numpy(), test.labels.numpy()
    # Rounded before they are judged, so that whoever reads the files finds the same accuracies.
    held_out_logits = round_logits(predict(students, held_out.inputs).numpy())
    test_logits = round_logits(predict(students, test.inputs).numpy())
    rows = []
    for student, (setting, seed) in enumerate(owners):
        if seed == STORED_SEED:
            write_logits(folder, setting.name, test_logits[student], seed)
        rows.append(
            {
                "dataset": experiment.dataset,
                "teacher": experiment.teacher,
                "student": experiment.student,
                "method": setting.method,
                "temperature": setting.temperature,
                "seed": seed,
                "epochs": experiment.student_recipe.epochs,
                "top1": top_k_accuracy(test_logits[student], labels, 1),
                "top5": top_k_accuracy(test_logits[student], labels, 5),
                "held_out_top1": top_k_accuracy(held_out_logits[student], held_out_labels, 1),
                "seconds": seconds / len(owners),  # an equal share: they trained together
                "device": "cpu",
                **origin,
            }
        )
    return rows
