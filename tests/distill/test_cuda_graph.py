import torch
from torch import nn

from pld_edu.distill.cuda_graph import recorded, unchanged


def test_without_a_gpu_nothing_is_recorded():
    def function():
        raise AssertionError("called while recording")

    assert recorded(function, torch.device("cpu")) is function


def train(network, optimizer, steps):
    for step in range(steps):
        optimizer.zero_grad()
        network(torch.full((4, 3), float(step + 1))).square().sum().backward()
        optimizer.step()


def make():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    return network, optimizer


def test_steps_under_unchanged_leave_no_trace():
    for steps_before in (0, 2):  # without and with momentum
        plain, disturbed = make(), make()
        for network, optimizer in (plain, disturbed):
            train(network, optimizer, steps_before)
        with unchanged(*disturbed):
            train(*disturbed, 3)
        for network, optimizer in (plain, disturbed):
            train(network, optimizer, 3)
        for name, value in plain[0].state_dict().items():
            assert torch.equal(disturbed[0].state_dict()[name], value), name
