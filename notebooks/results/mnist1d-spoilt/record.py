"""MNIST-1D with teachers that were stopped early, and with labels that are partly wrong.

Makes the two files beside it, which notebook 10 reads. From the repository's root:

    python notebooks/results/mnist1d-spoilt/record.py

Held-out and test labels stay right. Each setting is trained at two learning rates; the rows of
both are kept, and held-out data picks. (0.02 and 0.6 were tried with five seeds, and never picked.)
"""

import json
from copy import copy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pld_edu.distill.experiment import EXPERIMENTS
from pld_edu.distill.record import accuracy
from pld_edu.distill.run import Distillation
from pld_edu.distill.train import predict

HERE = Path(__file__).parent
SEEDS = range(10)
RATES = (0.06, 0.2)
BASE = replace(EXPERIMENTS["mnist1d"], methods=("ce", "kd", "pld"), temperatures=(1.0, 4.0))
KEPT = ("method", "temperature", "seed", "top1", "held_out_top1")


class Case(NamedTuple):
    """Epochs of the teacher; the share of its labels and of the students' labels that is wrong."""

    epochs: int
    teacher_noise: float
    label_noise: float


CASES = {
    "25 epochs": Case(25, 0.0, 0.0),
    "10 epochs": Case(10, 0.0, 0.0),
    "5 epochs": Case(5, 0.0, 0.0),
    "3 epochs": Case(3, 0.0, 0.0),
    "2 epochs": Case(2, 0.0, 0.0),
    "20% wrong": Case(25, 0.0, 0.2),
    "40% wrong": Case(25, 0.0, 0.4),
    "20% wrong, teacher's too": Case(25, 0.2, 0.2),
    "40% wrong, teacher's too": Case(25, 0.4, 0.4),
}


def with_noise(labels: Tensor, share: float) -> Tensor:
    """The labels [N] with this share replaced by another class, always in the same way."""
    rng = np.random.default_rng(1000)
    wrong = rng.permutation(len(labels))[: round(share * len(labels))]
    noisy = labels.clone()
    noisy[wrong] = (noisy[wrong] + torch.from_numpy(rng.integers(1, 10, len(wrong)))) % 10
    return noisy


def load() -> Distillation:
    """Training, held-out and test data, all labels right."""
    return Distillation(BASE, HERE, progress=False)


def adapt(data: Distillation, folder: str, noise: float, **changes: Any) -> Distillation:
    """The same data with wrong labels in the training set, other settings, another folder."""
    adapted = copy(data)
    adapted.home = adapted.folder = Path(folder)
    adapted.train = data.train._replace(labels=with_noise(data.train.labels, noise))
    adapted.experiment = replace(BASE, **changes)
    return adapted


def teach(data: Distillation, case: Case) -> nn.Module:
    """The teacher of a case, trained."""
    recipe = replace(BASE.teacher_recipe, epochs=case.epochs)
    with TemporaryDirectory() as folder:
        adapted = adapt(data, folder, case.teacher_noise, teacher_recipe=recipe)
        return adapted.train_teacher()[0]


def describe(data: Distillation, case: Case, teacher: nn.Module) -> dict[str, Any]:
    """The teacher's test accuracy, and its mean weight of the label that the students get.

    The weight softmax(t / tau)_y is also given over those samples alone whose label y is wrong.
    """
    t, labels = predict(teacher, data.train.inputs), with_noise(data.train.labels, case.label_noise)
    wrong = labels != data.train.labels
    found = {"top1": accuracy(predict(teacher, data.test.inputs), data.test)}
    for tau in (1.0, 4.0):
        weight = (t / tau).softmax(-1).gather(-1, labels[:, None])[:, 0]
        found[f"label_weight_t{tau:g}"] = weight.mean().item()
        if wrong.any():
            found[f"wrong_label_weight_t{tau:g}"] = weight[wrong].mean().item()
    return found


def students(
    data: Distillation, case: Case, teacher: nn.Module, rate: float, seeds: range = SEEDS
) -> list[dict[str, Any]]:
    """One row for each setting and seed, at one learning rate."""
    recipe = replace(BASE.student_recipe, learning_rate=rate)
    with TemporaryDirectory() as folder:
        adapted = adapt(data, folder, case.label_noise, student_recipe=recipe, seeds=len(seeds))
        adapted.train_students(seeds, teacher)
        rows = json.loads(adapted.part(seeds).read_text())["rows"]
    return [{key: row[key] for key in KEPT} | {"learning_rate": rate} for row in rows]


def main() -> None:
    """Train everything and write it down."""
    torch.set_num_threads(1)
    data = load()
    teachers, rows = [], []
    for name, case in CASES.items():
        teacher = teach(data, case)
        teachers.append({"case": name, **case._asdict(), **describe(data, case, teacher)})
        for rate in RATES:
            rows += [{"case": name, **row} for row in students(data, case, teacher, rate)]
        print(json.dumps(teachers[-1]), flush=True)
    for name, found in (("teachers", teachers), ("rows", rows)):
        lines = ",\n".join(json.dumps(line) for line in found)
        (HERE / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
