"""What networks and losses cost: images per second while training, milliseconds alone."""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import nn

from .cuda_graph import recorded
from .experiment import ImageExperiment
from .objectives import Loss, make_loss
from .train import Images, logits_of, normalise

REPETITIONS = 7


def latency(network: nn.Module) -> dict[str, float]:
    """Median milliseconds of a float32 forward pass on one CPU thread, for 1 and 128 images."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = network.cpu().to(memory_format=torch.channels_last).eval()
    found = {}
    try:
        for size in (1, 128):
            images = torch.zeros(size, 3, 32, 32).to(memory_format=torch.channels_last)
            with torch.inference_mode():
                found[f"batch_{size}_ms"] = 1000 * seconds(partial(network, images))
    finally:
        torch.set_num_threads(threads)
    return found


def throughput(
    experiment: ImageExperiment, teacher: nn.Module, student: nn.Module, train: Images
) -> dict[str, float]:
    """Images per second of each part of a training step, and the share of the losses in it.

    Returns
    -------
    dict
        Images per second: `teacher` (forward), `student` (forward and backward, without its loss)
        and, by setting, `loss ce`, `loss kd-t1`, ... (forward and backward); `loss_share`: of a
        step, the part that all the losses take. Optimizer and augmentation are not counted.
    """
    size = min(experiment.student_recipe.batch_size, len(train.labels))
    precision = experiment.precision
    inputs, labels = normalise(train.inputs[:size]), train.labels[:size]
    device = inputs.device
    student.train()
    with torch.no_grad():
        teacher_logits = logits_of(teacher, inputs, precision)
    logits = logits_of(student, inputs, precision).detach().requires_grad_()

    def teach() -> None:
        with torch.no_grad():
            logits_of(teacher, inputs, precision)

    def learn() -> None:
        logits_of(student, inputs, precision).sum().backward()

    def judge(loss: Loss) -> None:
        loss(logits, teacher_logits, labels).backward()

    parts: dict[str, Callable[[], object]] = {"teacher": teach, "student": learn}
    for setting in experiment.settings:
        parts[f"loss {setting.name}"] = partial(judge, make_loss(setting))
    spent = {name: seconds(part, device) for name, part in parts.items()}
    losses = sum(value for name, value in spent.items() if name.startswith("loss"))
    step = spent["teacher"] + len(experiment.settings) * spent["student"] + losses
    student.eval()
    return {name: size / value for name, value in spent.items()} | {"loss_share": losses / step}


def seconds(part: Callable[[], object], device: torch.device | None = None) -> float:
    """Median over a few calls, after one to warm up; on a GPU recorded, as in training."""
    on_gpu = device is not None and device.type == "cuda"
    if device is not None:
        part = recorded(part, device)

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize(device)

    part()
    wait()
    spent = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        part()
        wait()
        spent.append(time.perf_counter() - start)
    return median(spent)
