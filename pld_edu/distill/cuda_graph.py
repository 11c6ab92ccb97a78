"""A step recorded once as a CUDA graph and then replayed: no time is lost in launching kernels.

A small network's kernels are over before Python can launch the next one; a recorded graph launches
them all at once. Elsewhere than on a GPU nothing is recorded and everything runs as written.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from . import ranks

Result = TypeVar("Result")
WARM_UPS = 3  # calls before the recording: libraries choose their kernels, memory is laid out


def can_record(device: torch.device) -> bool:
    """Whether steps are recorded here: on a GPU, unless several processes work together."""
    return device.type == "cuda" and ranks.count() == 1


def recorded(function: Callable[[], Result], device: torch.device) -> Callable[[], Result]:
    """`function` as a replay of its recording; itself where there is no GPU.

    Parameters
    ----------
    function : callable
        Reads and writes the same tensors in each call, never waits for the device, and is called
        here `WARM_UPS` times: put back what it changes, see `unchanged`.
    device : torch.device

    Returns
    -------
    callable
        Returns the same tensors each time, with new values in them.

    Warns
    -----
    UserWarning
        The function cannot be recorded; it is returned as it is, and works, only slower.
    """
    if not can_record(device):
        return function
    stream, graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            function()
    torch.cuda.current_stream(device).wait_stream(stream)
    try:
        with torch.cuda.graph(graph):
            result = function()
    except RuntimeError as error:
        torch.cuda.synchronize(device)
        warnings.warn(f"no CUDA graph, so steps are slower: {error}", stacklevel=2)
        return function

    def replay() -> Result:
        graph.replay()
        return result

    return replay


@contextmanager
def unchanged(network: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Put weights, statistics and momentum back in place as they were.

    Momentum that did not exist becomes zero, from which the first step makes what it would have
    made of none.
    """
    before = {name: value.clone() for name, value in network.state_dict().items()}
    momentum = {
        parameter: state["momentum_buffer"].clone()
        for parameter, state in optimizer.state.items()
        if isinstance(state.get("momentum_buffer"), Tensor)
    }
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in network.state_dict().items():
                value.copy_(before[name])
            for parameter, state in optimizer.state.items():
                if parameter in momentum:
                    state["momentum_buffer"].copy_(momentum[parameter])
                else:
                    state["momentum_buffer"].zero_()
