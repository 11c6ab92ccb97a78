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
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from .contenders import ForwardAndBackward, Pass

SAMPLE_SECONDS = 0.02
BACKWARD = "the backward half"
Name = TypeVar("Name", bound=Hashable)


def interleaved(
    passes: Mapping[Name, Pass],
    rounds: int,
    device: str = "cpu",
    each_round: Callable[[], object] = lambda: None,
) -> dict[Name, list[float]]:
    """Seconds of a call of each pass, `rounds` times in turn.

    In every round each is called as often as makes twenty milliseconds, and each round starts with
    another one. A machine that slows down for a while slows all of them, and ratios within a
    round hold. One call goes before and does not count: it finds the caches full of what another
    pass needed, and gives memory back to the system that the other one took. On one CPU thread
    the clock is the processor's time for this process: other programs do not count.

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
            passes[name]()
            seconds[name].append(clock(passes[name], calls[name]))
        each_round()
    return seconds


def peak_memory(one: Pass, device: str = "cpu") -> int:
    """The most bytes that one call holds at a time, its result included, its inputs not.

    On the CPU the sum of two peaks, of PyTorch's tensors and of NumPy's arrays and Python's
    objects, which need not coincide: an upper bound, a close one where either is small. The
    forward and the backward half are looked at apart, so that peaks of both are not added up.
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
    halves = one if isinstance(one, ForwardAndBackward) else ForwardAndBackward(one, _nothing)
    peaks = zip(_peaks_of_tensors(halves), _peaks_of_arrays(halves), strict=True)
    return max(tensors + arrays for tensors, arrays in peaks)


def _nothing(result: Any) -> Any:
    return result


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


def _peaks_of_tensors(one: ForwardAndBackward) -> tuple[int, int]:
    """From the profiler's record of every allocation and release."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it talks on stderr
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        result = one.forward()
        with record_function(BACKWARD):
            result = one.backward(result)
    del result
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        record.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    half = next(e["ts"] for e in events if e["name"] == BACKWARD)
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    held = list(accumulate((change for _, change in changes), initial=0))
    middle = sum(at < half for at, _ in changes)
    return max(held[: middle + 1]), max(held[middle:])


def _peaks_of_arrays(one: ForwardAndBackward) -> tuple[int, int]:
    """NumPy tells Python of its allocations; PyTorch doesn't."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = one.forward()
        _, first = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        result = one.backward(result)
        _, second = tracemalloc.get_traced_memory()
        del result
        return first - before, second - before
    finally:
        tracemalloc.stop()
