"""Seconds and bytes of one forward and backward pass."""

import gc
import json
import os
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Hashable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

from .contenders import Pass

SAMPLE_SECONDS = 0.005
Name = TypeVar("Name", bound=Hashable)


def interleaved(
    passes: Mapping[Name, Pass],
    rounds: int,
    device: str = "cpu",
    each_round: Callable[[], object] = lambda: None,
) -> dict[Name, list[float]]:
    """Seconds of a call of each pass, `rounds` times in turn.

    In every round each is called as often as makes five milliseconds, and each round starts with
    another one. A machine that slows down for a while slows all of them, and ratios within a
    round hold. On one CPU thread the clock is the processor's time for this process: other
    programs do not count.

    Parameters
    ----------
    passes : mapping of name to callable
    rounds : int
    device : str
        On "cuda" the device's own clock counts, from an idle device to an idle device.
    each_round : callable
        Called after each round, for a progress bar.

    Returns
    -------
    dict of name to list of float
        `rounds` values each.
    """
    clock = _cuda_seconds if torch.device(device).type == "cuda" else _cpu_seconds
    calls = {}
    for name, one in passes.items():
        clock(one, 1)  # the first call allocates, compiles, loads
        calls[name] = max(1, round(SAMPLE_SECONDS / clock(one, 1)))
    names = list(passes)
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    gc.collect()
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(clock(passes[name], calls[name]))
        each_round()
    return seconds


def peak_memory(one: Pass, device: str = "cpu") -> int:
    """The most bytes that one call holds at a time, its result included, its inputs not.

    On the CPU the sum of two peaks, of PyTorch's tensors and of NumPy's arrays and Python's
    objects, which need not coincide: an upper bound, a close one where either is small.
    """
    one()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = one()
        torch.cuda.synchronize()
        del result
        return torch.cuda.max_memory_allocated() - before
    return _peak_of_tensors(one) + _peak_of_arrays(one)


def _cpu_seconds(one: Pass, calls: int) -> float:
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = now()
    for _ in range(calls):
        one()
    return (now() - start) / calls


def _cuda_seconds(one: Pass, calls: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        one()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000 / calls


def _peak_of_tensors(one: Pass) -> int:
    """From the profiler's record of every allocation and release."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it talks on stderr
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        one()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        record.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    return max(accumulate(change for _, change in changes), default=0)


def _peak_of_arrays(one: Pass) -> int:
    """NumPy tells Python of its allocations; PyTorch doesn't."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        one()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
