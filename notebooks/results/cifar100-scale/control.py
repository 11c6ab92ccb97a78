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
from pld_edu.distill_images import placed, stored_logits, train_teacher
from pld_edu.experiments import PRESETS, Setting, SGDRecipe
from pld_edu.models import build
from pld_edu.objectives import Loss, make_loss
from pld_edu.records import provenance, top_k_accuracy, write_json, write_logits
from pld_edu.together import Images, Learner, to_device, train_together
from torch import nn

from pld_edu.data import cifar100

RECORDED = Path(__file__).parents[1] / "cifar100"
EXPERIMENT = PRESETS["cpu"]
SEED = 0
FACTORS = {
    Setting("ce", None): 2.5,
    Setting("kd", 4.0): 8.0,
    Setting("pld", 1.0): 7.0,
    Setting("pld", 4.0): 20.0,
}


def scaled(loss: Loss, factor: float) -> Loss:
    """The loss, `factor` times as large."""
    return lambda student, teacher, labels: factor * loss(student, teacher, labels)


def row(
    setting: Setting, factor: float, network: nn.Module, test: Images, held_out: Images
) -> tuple[dict[str, Any], np.ndarray]:
    """The result row of a student, and its rounded test logits."""
    logits, labels = stored_logits(network, test, EXPERIMENT.precision)
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
        "top1": top_k_accuracy(logits, labels, 1),
        "top5": top_k_accuracy(logits, labels, 5),
        "held_out_top1": top_k_accuracy(*stored_logits(network, held_out, EXPERIMENT.precision), 1),
        "device": "cpu",
    }
    return found | provenance(), logits


def main() -> None:
    """Train the four students and record them."""
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    recipe = EXPERIMENT.student_recipe
    assert isinstance(recipe, SGDRecipe)
    sizes = EXPERIMENT.train, EXPERIMENT.held_out, EXPERIMENT.test
    train, held_out, test = (to_device(split, "cpu") for split in cifar100(*sizes))
    teacher, _ = train_teacher(EXPERIMENT, train, held_out, RECORDED)
    students = {s: placed(build(EXPERIMENT.student, SEED), train) for s in FACTORS}
    train_together(
        {s.name: Learner(students[s], scaled(make_loss(s), FACTORS[s])) for s in FACTORS},
        train,
        recipe,
        SEED,
        out / "students.checkpoint",
        teacher=teacher,
        precision=EXPERIMENT.precision,
        label="control",
    )
    rows = []
    for setting, factor in FACTORS.items():
        found, logits = row(setting, factor, students[setting], test, held_out)
        rows.append(found)
        write_logits(out, setting.name, logits, SEED)
    write_json(out / "rows.json", rows)
    (out / "students.checkpoint").unlink()


if __name__ == "__main__":
    main()
