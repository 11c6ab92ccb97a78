"""How much of a real training step a loss is: the small networks of CIFAR-100, batches of 128."""

from collections.abc import Callable
from copy import deepcopy
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ..distill.models import build
from .contenders import CONTENDERS, Batch, Pass
from .measure import interleaved

TEACHER, STUDENT, BATCH, CLASSES = "resnet20", "resnet8", 128, 100
LOSSES = ("cross-entropy", "listing", "losses", "fast", "fast, cached targets")


def training_step(
    rounds: int, device: str = "cpu", each_round: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Milliseconds of a whole step with each of `LOSSES`, and of its parts.

    A step is the student's forward pass, the loss, the backward pass and SGD with momentum. The
    teacher's forward pass is apart: who stores its logits or its targets does not need it.

    Returns
    -------
    dict
        `student`, `teacher`, `batch`, `classes`; `step` and `loss_alone`, milliseconds by loss;
        `teacher_forward`, milliseconds.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, 32, 32, generator=generator).to(device)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator).to(device)
    teacher = build(TEACHER, seed=0).to(device).eval()
    student = build(STUDENT, seed=0).to(device)

    def teacher_forward() -> Tensor:
        with torch.inference_mode():
            return teacher(images)

    with torch.no_grad():
        soft = teacher(images)
    passes: dict[str, Pass] = {"teacher": teacher_forward}
    for name in LOSSES:
        passes[f"step {name}"] = _step(deepcopy(student), images, soft, labels, name)
        logits = student(images).detach().requires_grad_()
        passes[f"loss {name}"] = CONTENDERS[name](Batch(logits, soft, labels))
    seconds = interleaved(passes, rounds, device, each_round)
    milliseconds = {name: round(1000 * median(values), 4) for name, values in seconds.items()}
    return {
        "student": STUDENT,
        "teacher": TEACHER,
        "batch": BATCH,
        "classes": CLASSES,
        "step": {name: milliseconds[f"step {name}"] for name in LOSSES},
        "loss_alone": {name: milliseconds[f"loss {name}"] for name in LOSSES},
        "teacher_forward": milliseconds["teacher"],
    }


def _step(student: nn.Module, images: Tensor, soft: Tensor, labels: Tensor, loss: str) -> Pass:
    """A loss of `CONTENDERS` gives its gradient at the logits; from there autograd goes on."""
    optimiser = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    batch = Batch(torch.zeros_like(soft, requires_grad=True), soft, labels)
    slope = CONTENDERS[loss](batch)

    def step() -> None:
        optimiser.zero_grad()
        logits = student(images)
        with torch.no_grad():
            batch.student.copy_(logits)
        logits.backward(slope())
        optimiser.step()

    return step
