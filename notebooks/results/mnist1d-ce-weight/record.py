"""KD and DIST with four weights of cross-entropy, beside CE and PLD, on MNIST-1D.

Makes the two files beside it, which notebook 07 reads. From the repository's root:

    python notebooks/results/mnist1d-ce-weight/record.py

560 students: 28 settings, ten seeds, at notebook 08's learning rate and at a tenth of it. Students
of one seed share their initial weights and batches, whatever the loss.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from pld_edu import losses
from pld_edu._files import write_json
from pld_edu.distill.experiment import EXPERIMENTS, Experiment
from pld_edu.distill.networks import Stack, build
from pld_edu.distill.objectives import Loss, StackedLoss, cross_entropy
from pld_edu.distill.record import accuracy
from pld_edu.distill.run import Distillation
from pld_edu.distill.train import Learner, Trainer, predict
from pld_edu.results.records import provenance

HERE = Path(__file__).parent
SLOWER = (1, 10)
WEIGHTS, TEMPERATURES = (0.0, 0.1, 0.5, 0.9), (1.0, 2.0, 4.0)
BASE = replace(EXPERIMENTS["mnist1d"], temperatures=TEMPERATURES, seeds=10)
Setting = tuple[str, float | None, float | None]  # method, weight of cross-entropy, temperature
SETTINGS: list[Setting] = [("ce", 1.0, None), *(("pld", None, tau) for tau in TEMPERATURES)]
SETTINGS += list(product(("kd", "dist"), WEIGHTS, TEMPERATURES))


def make_loss(method: str, ce_weight: float | None, temperature: float | None) -> Loss:
    """ce_weight * CE + (1 - ce_weight) * own; DIST's own part is 2 rows + 2 columns."""
    if temperature is None:
        return cross_entropy
    if ce_weight is None:
        return losses.PLDLoss(temperature)
    own = 1 - ce_weight
    if method == "kd":
        return losses.KDLoss(temperature, ce_weight=ce_weight, kd_weight=own)
    return losses.DISTLoss(temperature, ce_weight=ce_weight, beta=2 * own, gamma=2 * own)


def train_students(data: Distillation, teacher_logits: Tensor, rate: float) -> Stack:
    """One student for each setting and seed, in this order."""
    experiment = data.experiment
    recipe = replace(experiment.student_recipe, learning_rate=rate)
    starts = [build(experiment.student, seed) for seed in range(experiment.seeds)]
    students = Stack(starts * len(SETTINGS))
    names = tuple(map(str, product(SETTINGS, range(experiment.seeds))))
    loss = StackedLoss([make_loss(*setting) for setting in SETTINGS])
    learners = {"students": Learner(students, loss, names)}
    trainer = Trainer(learners, data.train, recipe, range(experiment.seeds), teacher_logits)
    with TemporaryDirectory() as folder:
        trainer.fit(Path(folder) / "students")
    return students


def make_rows(data: Distillation, students: Stack, rate: float) -> list[dict[str, Any]]:
    """One row for each student."""
    held_out, test = (predict(students, split.inputs) for split in (data.held_out, data.test))
    owners = product(SETTINGS, range(data.experiment.seeds))
    return [
        {
            "learning_rate": rate,
            "method": method,
            "ce_weight": weight,
            "temperature": temperature,
            "seed": seed,
            "held_out_top1": round(accuracy(of_held_out, data.held_out), 3),
            "top1": round(accuracy(of_test, data.test), 3),
        }
        for ((method, weight, temperature), seed), of_held_out, of_test in zip(
            owners, held_out, test, strict=True
        )
    ]


def record(experiment: Experiment, out: Path) -> None:
    """Train everything and write it down."""
    with TemporaryDirectory() as folder:
        data = Distillation(experiment, Path(folder), progress=False)
        teacher, _ = data.train_teacher()
    t, labels, rows = predict(teacher, data.train.inputs), data.train.labels, []
    for slower in SLOWER:
        rate = experiment.student_recipe.learning_rate / slower
        rows += make_rows(data, train_students(data, t, rate), rate)
    shares = {f"{tau:g}": (t / tau).softmax(-1).gather(-1, labels[:, None]) for tau in TEMPERATURES}
    weights = {tau: round(share.mean().item(), 3) for tau, share in shares.items()}
    note = {"label_weight": weights, "made_with": provenance(), **experiment.note}
    write_json(out / "experiment.json", note)
    write_json(out / "rows.json", rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    record(BASE, HERE)
