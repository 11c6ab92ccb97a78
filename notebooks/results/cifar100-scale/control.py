"""The control of notebook 09: losses multiplied to one gradient length, everything else the same.

``python notebooks/results/cifar100-scale/control.py OUT`` repeats it, in minutes on a CPU core, and
writes ``rows.json`` and the logits into OUT. The factors bring each loss's first gradient in the
logits to about the length of DKD's; they were rounded, and tried once, with one seed.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pld_edu._files import write_json
from pld_edu.distill.experiment import PRESETS
from pld_edu.distill.objectives import Loss, make_loss
from pld_edu.distill.run import Distillation
from pld_edu.distill.train import Learner, Trainer
from pld_edu.results.methods import Setting
from pld_edu.results.records import provenance, write_logits

RECORDED = Path(__file__).parents[1] / "cifar100"
EXPERIMENT = PRESETS["cpu"]
SEED = 0
FACTORS = {
    Setting("ce", None): 2.5,
    Setting("kd", 4.0): 8.0,
    Setting("pld", 1.0): 7.0,
    Setting("pld", 4.0): 20.0,
}


def multiply(loss: Loss, factor: float) -> Loss:
    """The loss, `factor` times as large."""
    return lambda s, t, y: factor * loss(s, t, y)


def row(
    setting: Setting, factor: float, network: nn.Module, distillation: Distillation
) -> tuple[dict[str, Any], np.ndarray]:
    """The result row of a student, and its rounded test logits."""
    ((logits, accuracies),) = distillation.evaluate(network)
    found = {
        "dataset": EXPERIMENT.dataset,
        "teacher": EXPERIMENT.teacher,
        "student": EXPERIMENT.student,
        "method": setting.method,
        "temperature": setting.temperature,
        "seed": SEED,
        "loss_factor": factor,
        "epochs": EXPERIMENT.student_recipe.epochs,
        "train_images": EXPERIMENT.train,
        **accuracies,
        "device": "cpu",
    }
    return found | provenance(), logits


def main() -> None:
    """Train the four students and record them."""
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    distillation = Distillation(EXPERIMENT, RECORDED / "control")
    teacher, _ = distillation.train_teacher()
    students = {s: distillation.build(EXPERIMENT.student, SEED) for s in FACTORS}
    learners = {s.name: Learner(students[s], multiply(make_loss(s), FACTORS[s])) for s in FACTORS}
    recipe, precision = EXPERIMENT.student_recipe, EXPERIMENT.precision
    trainer = Trainer(learners, distillation.train, recipe, SEED, teacher, precision)
    trainer.fit(out / "students.checkpoint", label="control")
    rows = []
    for setting, factor in FACTORS.items():
        found, logits = row(setting, factor, students[setting], distillation)
        rows.append(found)
        write_logits(out, setting.name, logits, SEED)
    write_json(out / "rows.json", rows)
    (out / "students.checkpoint").unlink()


if __name__ == "__main__":
    main()
