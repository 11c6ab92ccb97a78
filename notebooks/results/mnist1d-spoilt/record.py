"""MNIST-1D with teachers that were stopped early, and with labels that are partly wrong.

Makes the two files beside it, which notebook 10 reads. From the repository's root:

    python notebooks/results/mnist1d-spoilt/record.py

Held-out and test labels stay right. Each setting is trained at three learning rates; the rows of
all of them are kept, and held-out data picks.
"""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

from pld_edu.distill.experiment import EXPERIMENTS
from pld_edu.distill.run import Split, load_splits, predict, train_students, train_teacher
from pld_edu.results.metrics import top_k_accuracy

HERE = Path(__file__).parent
SEEDS = 5
RATES = (0.06, 0.2, 0.6)
BASE = EXPERIMENTS["mnist1d"]


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


def with_noise(labels, share):
    """The labels [N] with this share replaced by another class, always in the same way."""
    rng = np.random.default_rng(1000)
    wrong = rng.permutation(len(labels))[: round(share * len(labels))]
    noisy = labels.clone()
    noisy[wrong] = (noisy[wrong] + torch.from_numpy(rng.integers(1, 10, len(wrong)))) % 10
    return noisy


def teach(case, train, held_out):
    """The teacher of a case, trained."""
    recipe = replace(BASE.teacher_recipe, epochs=case.epochs)
    taught = Split(train.inputs, with_noise(train.labels, case.teacher_noise))
    experiment = replace(BASE, teacher_recipe=recipe)
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "teacher"
        return train_teacher(experiment, taught, held_out, checkpoint, progress=False)[0]


def describe(name, case, teacher, train, test):
    """What the teacher is worth, and its mean weight of the label that the students get."""
    logits = predict(teacher, train.inputs)
    labels = with_noise(train.labels, case.label_noise)
    wrong = labels != train.labels
    weights = {}
    for temperature in (1.0, 4.0):
        weight = (logits / temperature).softmax(-1).gather(-1, labels[:, None])[:, 0]
        weights[f"label_weight_t{temperature:g}"] = weight.mean().item()
        if wrong.any():
            weights[f"wrong_label_weight_t{temperature:g}"] = weight[wrong].mean().item()
    top1 = top_k_accuracy(predict(teacher, test.inputs).numpy(), test.labels.numpy(), 1)
    return {"case": name, **case._asdict(), "top1": top1, **weights}


def students(name, case, teacher, train, held_out, test, seeds=SEEDS, rates=RATES):
    """One row for each setting, learning rate and seed."""
    logits = predict(teacher, train.inputs)
    learnt = Split(train.inputs, with_noise(train.labels, case.label_noise))
    rows = []
    for rate in rates:
        experiment = replace(
            BASE,
            student_recipe=replace(BASE.student_recipe, learning_rate=rate),
            methods=("ce", "kd", "pld"),
            temperatures=(1.0, 4.0),
            seeds=seeds,
        )
        with TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "students"
            stack, _ = train_students(experiment, learnt, logits, checkpoint, progress=False)
        top1, held_out_top1 = accuracies(stack, test), accuracies(stack, held_out)
        owners = [(setting, seed) for setting in experiment.settings for seed in range(seeds)]
        for place, (setting, seed) in enumerate(owners):
            row = {"case": name, "method": setting.method, "temperature": setting.temperature}
            row |= {"learning_rate": rate, "seed": seed}
            row |= {"top1": top1[place], "held_out_top1": held_out_top1[place]}
            rows.append(row)
    return rows


def accuracies(stack, split):
    """Top-1 of each student of a stack, in percent."""
    labels = split.labels.numpy()
    return [top_k_accuracy(own, labels, 1) for own in predict(stack, split.inputs).numpy()]


def main():
    """Train everything and write it down."""
    torch.set_num_threads(1)
    train, held_out, test = load_splits(BASE)
    teachers, rows = [], []
    for name, case in CASES.items():
        teacher = teach(case, train, held_out)
        teachers.append(describe(name, case, teacher, train, test))
        rows += students(name, case, teacher, train, held_out, test)
        print(json.dumps(teachers[-1]), flush=True)
    for name, found in (("teachers", teachers), ("rows", rows)):
        lines = ",\n".join(json.dumps(line) for line in found)
        (HERE / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
