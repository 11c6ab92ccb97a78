import pytest
import torch

from pld_edu.distill.cuda_graph import EAGER_CALLS, CaptureError, GraphedStep, can_capture


def test_steps_are_captured_on_gpus_alone():
    assert can_capture(torch.device("cuda", 1))
    assert not can_capture(torch.device("cpu"))


class Fake:
    """Stands for `torch.cuda`: a graph remembers the calls made in its capture and repeats them."""

    def __init__(self, monkeypatch, fails=False):
        self.capturing, self.replays, self.fails = False, 0, fails
        names = ("Stream", "current_stream", "stream", "CUDAGraph", "graph", "synchronize")
        for name in names:
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def Stream(self):
        return self

    current_stream = Stream

    def wait_stream(self, other):
        pass

    def stream(self, stream):
        return self

    def CUDAGraph(self):
        return self

    def graph(self, graph):
        self.capturing = True
        return self

    def synchronize(self):
        pass

    def replay(self):
        self.replays += 1
        self.work()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.capturing = False


def make_step(cuda):
    """One that adds up its batches; a capture takes note and computes nothing."""
    total, result = torch.zeros(3), torch.zeros(3)

    def step(values):
        def work():
            total.add_(values)
            result.copy_(2 * total)

        if not cuda.capturing:
            work()
            return result.clone()
        if cuda.fails:
            raise RuntimeError("operation not permitted")
        cuda.work = work
        return result

    return step


def test_each_batch_is_used_once_captured_or_not(monkeypatch):
    cuda = Fake(monkeypatch)
    step = GraphedStep(make_step(cuda))
    batches = torch.arange(21.0).reshape(7, 3)
    found = [step(batch).tolist() for batch in batches]
    assert found == (2 * batches.cumsum(dim=0)).tolist()
    assert cuda.replays == 7 - EAGER_CALLS


def test_a_step_that_cannot_be_captured_is_called_for_ever(monkeypatch):
    cuda = Fake(monkeypatch, fails=True)
    step = GraphedStep(make_step(cuda))
    batches = torch.arange(21.0).reshape(7, 3)
    with pytest.warns(UserWarning, match="no CUDA graph, so steps are slower: operation not perm"):
        found = [step(batch).tolist() for batch in batches]
    assert found == (2 * batches.cumsum(dim=0)).tolist()


def test_a_step_that_cannot_be_captured_is_an_error_where_a_graph_is_required(monkeypatch):
    step = GraphedStep(make_step(Fake(monkeypatch, fails=True)), required=True)
    batch = torch.ones(3)
    for _ in range(EAGER_CALLS):
        step(batch)
    with pytest.raises(
        CaptureError, match="cannot be captured as a CUDA graph: operation not perm"
    ):
        step(batch)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_replay_does_what_the_step_does():
    total = torch.zeros(3, device="cuda")

    def step(values):
        total.add_(values)
        return 2 * total

    graphed = GraphedStep(step)
    batches = torch.arange(21.0, device="cuda").reshape(7, 3)
    found = [graphed(batch).tolist() for batch in batches]
    assert graphed.graph is not None
    assert found == (2 * batches.cumsum(dim=0)).tolist()
