"""The whole benchmark: every shape, every contender, one after the other, again and again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from ..fast import triton_kernel
from ..results.records import provenance
from .contenders import CONTENDERS, Batch, Pass, random_batch
from .measure import interleaved, peak_memory
from .steps import PARTS, STEPS
from .training_step import training_step

SHAPES = ((128, 10), (128, 100), (512, 100), (256, 1000), (1024, 1000), (64, 21841), (16, 128256))
CLOSE_UPS = ((128, 100), (1024, 1000))  # where steps and parts are measured, too
ROUNDS = 9
BYTES_PER_LOGIT = 12  # float32: student and teacher read once, the gradient written once


def run(
    shapes: Sequence[tuple[int, int]] = SHAPES,
    *,
    rounds: int = ROUNDS,
    device: str = "cpu",
    threads: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """Time and weigh `CONTENDERS`, on the CPU also `STEPS` and `PARTS`, and a training step.

    Parameters
    ----------
    shapes : sequence of (rows, classes)
    rounds : int
        Medians are over so many.
    device : str
        "cpu" or "cuda".
    threads : int
        Of PyTorch on the CPU.
    quiet : bool
        No progress bar.

    Returns
    -------
    dict
        `device`, `processor`, `threads`, `rounds`, `made_with`; `rows`, one for each contender and
        shape with `group`, `shape`, `name`, `milliseconds`, `in_cross_entropies`, `in_listings`
        (medians of the rounds' ratios), `memory` (peak, in [B, C] float32),
        `gigabytes_per_second` (of the 12 bytes a logit that are needed); and `training_step`.

    Raises
    ------
    ValueError
        No CUDA where it is asked for; fewer than one round or thread.
    """
    if rounds < 1 or threads < 1:
        raise ValueError(f"rounds and threads must be at least 1, got {rounds} and {threads}")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f'device must be "cpu", or "cuda" where there is a GPU, got {device!r}')
    with _threads(threads), tqdm(total=rounds * (len(shapes) + 1), disable=quiet) as progress:
        rows = []
        for shape in shapes:
            progress.set_description(f"{shape[0]}x{shape[1]}")
            rows += _rows(shape, rounds, device, progress)
        progress.set_description("training step")
        step = training_step(rounds, device, progress.update)
    return {
        "device": device,
        "processor": _processor(device),
        "threads": threads,
        "rounds": rounds,
        "made_with": provenance(),
        "rows": rows,
        "training_step": step,
    }


def _processor(device: str) -> str:
    """The GPU's name; the vector instructions that PyTorch uses on the CPU."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return torch.backends.cpu.get_cpu_capability()


def _rows(shape: tuple[int, int], rounds: int, device: str, progress: tqdm) -> list[dict[str, Any]]:
    batch = random_batch(shape, device)
    passes = {(group, name): one for group, name, one in _passes(batch)}
    seconds = interleaved(passes, rounds, device, progress.update)
    ce, listing = (seconds["losses", name] for name in ("cross-entropy", "listing"))
    rows = []
    for (group, name), values in seconds.items():
        row: dict[str, Any] = {"group": group, "shape": list(shape), "name": name}
        row["milliseconds"] = _round(1000 * median(values))
        row["in_cross_entropies"] = _round(_median_ratio(values, ce))
        row["in_listings"] = _round(_median_ratio(values, listing))
        row["memory"] = _round(peak_memory(passes[group, name], device) / (4 * prod(shape)))
        row["gigabytes_per_second"] = _round(BYTES_PER_LOGIT * prod(shape) / median(values) / 1e9)
        rows.append(row)
    return rows


def _passes(batch: Batch) -> Iterator[tuple[str, str, Pass]]:
    """Group, name and pass of all that is measured on a batch."""
    classes, on_cuda = batch.student.shape[1], batch.student.is_cuda
    fused = on_cuda and classes <= triton_kernel.MAX_CLASSES and triton_kernel.available()
    for name, prepare in CONTENDERS.items():
        if fused or name != "fused kernel":
            yield "losses", name, prepare(batch)
    if tuple(batch.student.shape) in CLOSE_UPS and not on_cuda:
        for group, contenders in (("steps", STEPS), ("parts", PARTS)):
            for name, prepare in contenders.items():
                yield group, name, prepare(batch)


def _median_ratio(values: Sequence[float], units: Sequence[float]) -> float:
    return median(value / unit for value, unit in zip(values, units, strict=True))


def _round(value: float) -> float:
    """To four digits."""
    return float(f"{value:.4g}")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
