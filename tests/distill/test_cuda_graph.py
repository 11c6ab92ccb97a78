import pytest
import torch
from torch import nn

from pld_edu.distill.cuda_graph import can_capture, capture, restore_state


def test_steps_are_captured_on_gpus_alone():
    assert can_capture(torch.device("cuda", 1))
    assert not can_capture(torch.device("cpu"))


def train(network, optimizer, steps):
    for step in range(steps):
        optimizer.zero_grad()
        network(torch.full((4, 3), float(step + 1))).square().sum().backward()
        optimizer.step()


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True)


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.01)


@pytest.mark.parametrize("make_optimizer", [sgd, adamw])
@pytest.mark.parametrize("steps_before", [0, 2], ids=["new", "with state"])
def test_steps_under_restore_state_leave_no_trace(make_optimizer, steps_before):
    trained = []
    for disturbed in (False, True):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
        optimizer = make_optimizer(network.parameters())
        train(network, optimizer, steps_before)
        if disturbed:
            with restore_state(network, optimizer):
                train(network, optimizer, 3)
        train(network, optimizer, 3)
        trained.append(network.state_dict())
    torch.testing.assert_close(trained[1], trained[0], rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_replay_does_what_the_step_does():
    total = torch.zeros(3, device="cuda")

    def step(values):
        total.add_(values)
        return 2 * values

    batches = torch.arange(6.0, device="cuda").reshape(2, 3)
    replay = capture(step, batches[0])
    before = total.clone()
    assert [replay(batch).tolist() for batch in batches] == (2 * batches).tolist()
    assert torch.equal(total - before, batches.sum(dim=0))
