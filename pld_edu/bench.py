"""What losses cost: time and memory of a forward and backward pass, measured side by side.

`run` measures `LOSSES`; `compare` measures any candidates, such as the steps of notebook 12.
"""

import json
import logging
import os
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from . import fast, losses
from .distill.networks import build
from .results.records import provenance

SHAPES = ((128, 10), (128, 100), (512, 100), (256, 1000), (1024, 1000), (64, 21841), (16, 128256))
TEMPERATURE = 4.0
SAMPLE_SECONDS = 0.02
STEP: dict[str, Any] = {"student": "resnet8", "teacher": "resnet20", "batch": 128, "classes": 100}
STEP_LOSSES = ("cross-entropy", "listing", "losses", "fast", "fast, cached targets")
TABLES = {
    "milliseconds": "Milliseconds, forward and backward",
    "in_cross_entropies": "The same, divided by cross-entropy's",
    "in_listings": "The same, divided by that of the paper's listing",
    "memory": "Most memory held at a time, without the inputs, in float32 arrays of [B, C]",
    "gigabytes_per_second": "GB/s, counting the 12 bytes per logit that must be moved",
}
NOTE = (
    "Teacher and student are float32. KD, DIST, DKD and losses are those of pld_edu.losses, which "
    "compute in float64; plain KD is F.kl_div as people write it. With one CPU thread, times are "
    "processor time."
)

Shape = tuple[int, int]  # rows, classes
Loss = Callable[[Tensor], Tensor]  # of the student logits; may return its gradient instead
# Of teacher logits and labels: what depends on the teacher alone is computed before the clock runs.
Candidate = Callable[[Tensor, Tensor], Loss]


def random_batch(shape: Shape, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Student logits [B, C] (std 1, with gradient), teacher logits [B, C] (std 3), labels [B]."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(shape, generator=generator) * std for std in (1.0, 3.0))
    labels = torch.randint(shape[1], shape[:1], generator=generator)
    return student.to(device).requires_grad_(), teacher.to(device), labels.to(device)


def paper_listing(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """PLD as in the paper's listing (App. C): ``sum_k alpha_k (log sum_{l>=k} exp(s_l) - s_k)``."""
    rows, classes = teacher.shape
    # Ascending and with the label last, so that a running sum is the sum over l >= k.
    order = teacher.argsort(dim=1)
    others = order[order != labels[:, None]].view(rows, classes - 1)
    order = torch.cat([others, labels[:, None]], dim=1)
    s, t = student.gather(1, order), teacher.gather(1, order)
    return ((s.logcumsumexp(1) - s) * (t / TEMPERATURE).softmax(1)).sum(1).mean()


def plain_kd(student: Tensor, teacher: Tensor) -> Tensor:
    """KD as most people write it, in the dtype of the logits: ``tau^2 KL(p || q)``."""
    log_q, p = (student / TEMPERATURE).log_softmax(1), (teacher / TEMPERATURE).softmax(1)
    return F.kl_div(log_q, p, reduction="batchmean") * TEMPERATURE**2


LOSSES: dict[str, Candidate] = {
    "cross-entropy": lambda t, y: lambda s: F.cross_entropy(s, y),
    "KD, plain float32": lambda t, y: lambda s: plain_kd(s, t),
    "KD": lambda t, y: lambda s: losses.kd_loss(s, t, temperature=TEMPERATURE),
    "DIST": lambda t, y: lambda s: losses.dist_loss(s, t, temperature=TEMPERATURE),
    "DKD": lambda t, y: lambda s: losses.dkd_loss(s, t, y, temperature=TEMPERATURE),
    "listing": lambda t, y: lambda s: paper_listing(s, t, y),
    "losses": lambda t, y: lambda s: losses.pld_loss(s, t, y, temperature=TEMPERATURE),
    "fast": lambda t, y: lambda s: fast.pld_loss(s, t, y, temperature=TEMPERATURE),
    "fast, cached targets": lambda t, y: partial(
        fast.pld_loss_from_targets,
        targets=fast.TeacherTargets.compute(t, y, temperature=TEMPERATURE),
    ),
}


def check(rounds: int, device: str, threads: int) -> None:
    """Raise ValueError where `run` would."""
    if rounds < 1 or threads < 1:
        raise ValueError(f"rounds and threads must be at least 1, got {rounds} and {threads}")
    if device != "cpu" and not (device == "cuda" and torch.cuda.is_available()):
        raise ValueError(f'device must be "cpu", or "cuda" where there is a GPU, got {device!r}')


def run(
    shapes: Sequence[Shape] = SHAPES, rounds: int = 9, device: str = "cpu", threads: int = 1
) -> dict[str, Any]:
    """Measure `LOSSES` at each shape (`rows`, see `compare`), and a `training_step`.

    CUDA where there is none, and fewer than one round or thread, are a ValueError.
    """
    check(rounds, device, threads)
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    how = rounds, device, threads
    return {
        "device": device,
        "processor": gpu or torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "rounds": rounds,
        "made_with": provenance(),
        "rows": [row for shape in shapes for row in compare(shape, LOSSES, *how)],
        "training_step": training_step(*how),
    }


def compare(
    shape: Shape, candidates: Mapping[str, Candidate], rounds: int, device: str, threads: int
) -> list[dict[str, Any]]:
    """Measure candidates, and with them cross-entropy and the listing: one row for each.

    A row has `group` ("losses" if it is in `LOSSES`), `shape` and `name`; medians over the rounds:
    `milliseconds`, `in_cross_entropies` and `in_listings`, which are ratios within a round;
    `memory`, in float32 arrays of [B, C]; `gigabytes_per_second`.
    """
    student, teacher, labels = random_batch(shape, device)
    units = {name: LOSSES[name] for name in ("cross-entropy", "listing")}
    chosen = {name: prepare(teacher, labels) for name, prepare in {**candidates, **units}.items()}
    calls = {name: partial(_gradient, loss, student) for name, loss in chosen.items()}
    seconds = interleave(calls, rounds, device, threads, f"{shape[0]}x{shape[1]}")
    rows = []
    for name, values in seconds.items():
        found = {"milliseconds": 1000 * median(values)}
        for key, unit in zip(("in_cross_entropies", "in_listings"), units, strict=True):
            found[key] = median(a / b for a, b in zip(values, seconds[unit], strict=True))
        found["memory"] = peak_memory(chosen[name], student) / (4 * student.numel())
        # student and teacher are read and the gradient is written, all in float32
        found["gigabytes_per_second"] = 12 * student.numel() / median(values) / 1e9
        group = "losses" if name in LOSSES else "others"
        digits = {key: float(f"{value:.4g}") for key, value in found.items()}
        rows.append({"group": group, "shape": list(shape), "name": name, **digits})
    return rows


def training_step(rounds: int, device: str, threads: int) -> dict[str, Any]:
    """Milliseconds of `STEP` with each of `STEP_LOSSES`, of the loss alone, and of the teacher.

    A step is the student's forward pass, the loss, the backward pass and SGD.
    """
    teacher, student = (build(STEP[who], seed=0).to(device) for who in ("teacher", "student"))
    optimiser = torch.optim.SGD(student.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(STEP["batch"], 3, 32, 32, device=device)
    labels = torch.randint(STEP["classes"], (STEP["batch"],), device=device)
    teach = torch.no_grad()(partial(teacher.eval(), images))
    teacher_logits, logits = teach(), student(images).detach().requires_grad_()

    def step(loss: Loss) -> None:
        optimiser.zero_grad()
        loss(student(images)).backward()
        optimiser.step()

    calls: dict[Any, Callable[[], object]] = {"teacher": teach}
    for name in STEP_LOSSES:
        loss = LOSSES[name](teacher_logits, labels)
        calls["step", name] = partial(step, loss)
        calls["loss", name] = partial(_gradient, loss, logits)
    seconds = interleave(calls, rounds, device, threads, "training step")
    found = {key: round(1000 * median(values), 4) for key, values in seconds.items()}
    whole, alone = ({name: found[part, name] for name in STEP_LOSSES} for part in ("step", "loss"))
    return {**STEP, "step": whole, "loss_alone": alone, "teacher_forward": found["teacher"]}


def interleave(
    calls: Mapping[Any, Callable[[], object]], rounds: int, device: str, threads: int, title: str
) -> dict[Any, list[float]]:
    """Seconds of each call in each round, from a sample of 20 ms or more.

    All calls take turns in every round, so ratios within a round hold even if the machine slows.
    """
    # On a machine with nvcc but no GPU, the import warns that the GPU is missing.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer, timer

    # Processor time does not count other programs, but would add up several threads.
    clock = time.process_time if device == "cpu" and threads == 1 else timer
    names = list(calls)
    seconds: dict[Any, list[float]] = {name: [] for name in names}
    for turn in tqdm(range(rounds), title, disable=None):  # no bar if stderr is a file
        first = turn % len(names)  # each round starts with another one
        for name in names[first:] + names[:first]:
            call = Timer("call()", timer=clock, globals={"call": calls[name]}, num_threads=threads)
            # The timer's first calls do not count: they pay for what other candidates left behind.
            seconds[name].append(call.blocked_autorange(min_run_time=SAMPLE_SECONDS).mean)
    return seconds


def peak_memory(loss: Loss, student: Tensor) -> int:
    """Most bytes that one forward and backward pass holds at a time, without its inputs.

    On the CPU an upper bound: the peaks of PyTorch's tensors and of NumPy's arrays are added.
    """
    _gradient(loss, student)  # what only the first call allocates does not count
    if student.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _gradient(loss, student)
        return torch.cuda.max_memory_allocated() - before
    value, forward, held = _allocations(partial(loss, student))
    _, backward, _ = _allocations(partial(_gradient, lambda _: value, student))
    return max(forward, held + backward)


def _allocations(call: Callable[[], Tensor]) -> tuple[Tensor, int, int]:
    """The result of a call, the most bytes held during it, and the bytes held after it."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler writes to stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        tracemalloc.start()  # sees NumPy's allocations, but not PyTorch's
        result = call()
        arrays, most_arrays = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        record.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]"]
    tensors = list(accumulate((change for _, change in sorted(changes)), initial=0))
    return result, max(tensors) + most_arrays, tensors[-1] + arrays


def _gradient(loss: Loss, student: Tensor) -> Tensor:
    value = loss(student)
    return torch.autograd.grad(value, student)[0] if value.requires_grad else value


def report(result: Mapping[str, Any]) -> str:
    """The result of `run` as tables, one line per loss and one column per shape."""
    head = "{device} ({processor}), threads: {threads}, rounds: {rounds}".format(**result)
    tables = [f"{title}\n{table(result['rows'], key)}" for key, title in TABLES.items()]
    step = result["training_step"]
    lines = [
        "A training step: {student}, batch {batch}, {classes} classes, milliseconds "
        "(the teacher {teacher} forward: {teacher_forward:.3g})".format(**step),
        f"{'':22}{'whole step':>11}{'loss alone':>11}",
    ]
    for name, whole in step["step"].items():
        lines.append(f"{name:22}{whole:11.4g}{step['loss_alone'][name]:11.3g}")
    return "\n\n".join([head, NOTE, *tables, "\n".join(lines)])


def table(rows: Iterable[Mapping[str, Any]], key: str) -> str:
    """One number of each loss at each shape."""
    rows = [row for row in rows if row["group"] == "losses"]
    values = {(row["name"], "{}x{}".format(*row["shape"])): row[key] for row in rows}
    shapes = list(dict.fromkeys(shape for _, shape in values))
    lines = [" " * 22 + "".join(f"{shape:>11}" for shape in shapes)]
    for name in dict.fromkeys(name for name, _ in values):
        found = (values[name, shape] for shape in shapes)
        cells = (f"{v:11.0f}" if v >= 100 else f"{v:11.3g}" for v in found)
        lines.append(f"{name:22}" + "".join(cells))
    return "\n".join(lines)
