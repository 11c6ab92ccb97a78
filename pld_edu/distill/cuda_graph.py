"""A training step captured as a CUDA graph, which launches all of its kernels at once.

A small network's kernels are over before Python can launch the next one.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

EAGER_CALLS = 3  # before the capture: libraries choose their kernels, memory is laid out


class CaptureError(RuntimeError):
    """There is no CUDA graph, though one is required."""


def can_capture(device: torch.device) -> bool:
    """Whether steps are captured on this device; elsewhere they run as written."""
    return device.type == "cuda"


class GraphedStep:
    """Does as `step` does on each batch: by calling it at first, later by replaying its graph.

    `step` takes tensors on a GPU, of the same shapes each time, to a tensor, and never waits for
    the GPU. A capture computes nothing, so there is no state to put back; a step that cannot be
    captured is called each time, after a warning, or is a CaptureError if the graph is `required`.
    """

    def __init__(self, step: Callable[..., Tensor], required: bool = False) -> None:
        self.step, self.required, self.calls = step, required, 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *batch: Tensor) -> Tensor:
        self.calls += 1
        if self.calls <= EAGER_CALLS:
            stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
            stream.wait_stream(current)
            with torch.cuda.stream(stream):  # as a capture is, on a stream of its own
                result = self.step(*batch)
            current.wait_stream(stream)
            return result
        if self.calls == EAGER_CALLS + 1:
            self.capture(*batch)
        if self.graph is None:
            return self.step(*batch)
        for there, here in zip(self.batch, batch, strict=True):
            there.copy_(here)
        self.graph.replay()
        return self.result

    def capture(self, *batch: Tensor) -> None:
        """Note the kernels of a step; they read the same memory at each replay."""
        self.batch, graph = [values.clone() for values in batch], torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.result = self.step(*self.batch)
        except RuntimeError as error:
            torch.cuda.synchronize()
            if self.required:
                raise CaptureError(f"a step cannot be captured as a CUDA graph: {error}") from error
            warnings.warn(f"no CUDA graph, so steps are slower: {error}", stacklevel=2)
        else:
            self.graph = graph
