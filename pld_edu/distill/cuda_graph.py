"""A training step captured as a CUDA graph and replayed: no time is lost in launching kernels.

A small network's kernels are over before Python can launch the next one; a graph launches them all
at once.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

WARMUP_CALLS = 3  # before the capture: libraries choose their kernels, memory is laid out


def can_capture(device: torch.device) -> bool:
    """Whether steps are captured on this device; elsewhere they run as written."""
    return device.type == "cuda"


def capture(step: Callable[..., Tensor], *batch: Tensor) -> Callable[..., Tensor]:
    """A function that does as `step` does, by replaying its CUDA graph on new batches.

    Parameters
    ----------
    step : callable
        Never waits for the device. Is called here; put back what it changes, see `restore_state`.
    batch : Tensor
        An example: later batches have its shapes.

    Warns
    -----
    UserWarning
        The step cannot be captured; it is returned as it is, and works, only slower.
    """
    device = batch[0].device
    fixed = [values.clone() for values in batch]  # a graph reads the same memory each time
    stream, graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARMUP_CALLS):
            step(*fixed)
    torch.cuda.current_stream(device).wait_stream(stream)
    try:
        with torch.cuda.graph(graph):
            result = step(*fixed)
    except RuntimeError as error:
        torch.cuda.synchronize(device)
        warnings.warn(f"no CUDA graph, so steps are slower: {error}", stacklevel=2)
        return step

    def replay(*batch: Tensor) -> Tensor:
        for there, here in zip(fixed, batch, strict=True):
            there.copy_(here)
        graph.replay()
        return result

    return replay


@contextmanager
def restore_state(network: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Put weights, batch statistics and the optimizer's state back in place as they were.

    State that did not exist becomes zero: momentum, averages and step counts start from there.
    """

    def tensors() -> dict[object, Tensor]:
        state = optimizer.state.items()
        found = {(p, key): value for p, values in state for key, value in values.items()}
        return network.state_dict() | {k: v for k, v in found.items() if isinstance(v, Tensor)}

    before = {key: value.clone() for key, value in tensors().items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for key, value in tensors().items():
                value.copy_(before.get(key, torch.zeros_like(value)))
