"""CIFAR-100 with SGD: the runs of notebook 09, its two students and its control, made again.

About an hour and a half on one CPU core; interrupted, it goes on. From the repository's root:

    python notebooks/results/cifar100-sgd/record.py OUT

writes into OUT what lies beside this file. Crops and flips have been drawn from another random
stream since then, so numbers agree up to the noise of training, not to the bit. The control
multiplies losses to one gradient length, everything else the same: its factors bring each loss's
first gradient in the logits to about the length of DKD's; they were rounded, and tried once, with
one seed.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pld_edu._files import write_json
from pld_edu.distill.experiment import CIFAR100, SGDRecipe
from pld_edu.distill.objectives import Loss, make_loss
from pld_edu.distill.run import Distillation, run
from pld_edu.distill.train import Learner, Trainer
from pld_edu.results.methods import Setting
from pld_edu.results.records import claim, provenance, write_logits

RECIPE = SGDRecipe(epochs=8, batch_size=64, learning_rate=0.05, weight_decay=5e-4)
RESNET = replace(
    CIFAR100,
    teacher="resnet20",
    student="resnet8",
    train=10_000,
    test=5_000,
    teacher_recipe=replace(RECIPE, epochs=15),
    student_recipe=RECIPE,
    temperatures=(1.0, 4.0),
    more=(),
    primary=(),
    seeds=3,
    teacher_seed=0,
    curve_samples=1_000,
)
MOBILENET = replace(RESNET, student="mobilenetv2_x0_25")
SEED = 0  # of the control
FACTORS = {
    Setting("ce", None): 2.5,
    Setting("kd", 4.0): 8.0,
    Setting("pld", 1.0): 7.0,
    Setting("pld", 4.0): 20.0,
}


def set_apart(folder: Path) -> None:
    """Move the settings of which a student diverged from ``rows.json`` to ``diverged.json``."""
    rows = json.loads((folder / "rows.json").read_text())
    lost = {(row["method"], row["temperature"]) for row in rows if "diverged" in row}
    apart = [row for row in rows if (row["method"], row["temperature"]) in lost]
    if apart:
        write_json(folder / "diverged.json", apart)
        write_json(folder / "rows.json", [row for row in rows if row not in apart])


def multiply(loss: Loss, factor: float) -> Loss:
    """The loss, `factor` times as large."""
    return lambda s, t, y: factor * loss(s, t, y)


def record_control(home: Path) -> None:
    """Train the four students of the control with the teacher in `home`, and record them."""
    out = home / "control" / f"{RESNET.teacher}-{RESNET.student}"
    claim(out, RESNET.note)
    distillation = Distillation(RESNET, home / out.name)
    teacher, _ = distillation.train_teacher()
    students = {s: distillation.build(RESNET.student, SEED) for s in FACTORS}
    learners = {
        f"{s.name} x{factor:g}": Learner(students[s], multiply(make_loss(s), factor))
        for s, factor in FACTORS.items()
    }
    train, recipe = distillation.train, RESNET.student_recipe
    trainer = Trainer(learners, train, recipe, SEED, teacher, RESNET.precision)
    trainer.fit(out / "students.checkpoint", label="control")
    rows = []
    for setting, factor in FACTORS.items():
        ((logits, accuracies),) = distillation.record.evaluate(students[setting])
        write_logits(out, setting.name, logits, SEED)
        pair = {key: RESNET.note[key] for key in ("dataset", "teacher", "student")}
        own = {**setting._asdict(), "seed": SEED, "loss_factor": factor, "epochs": recipe.epochs}
        rows.append(pair | own | accuracies | {"device": "cpu"} | provenance())
    np.save(out / "labels.npy", distillation.test.labels.numpy())
    write_json(out / "rows.json", rows)
    (out / "students.checkpoint").unlink()


def main() -> None:
    """Train everything and write it down."""
    torch.set_num_threads(1)
    home = Path(sys.argv[1])
    for experiment in (RESNET, MOBILENET):
        set_apart(run(experiment, home, device="cpu").folder)
    record_control(home)


if __name__ == "__main__":
    main()
