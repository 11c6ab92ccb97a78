"""All networks by name, those for MNIST-1D, and many small students as one stacked model."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .networks import NETWORKS


def cnn() -> nn.Sequential:
    """The MNIST-1D teacher: four convolutions of 32 channels, 40 -> 40 -> 20 -> 10 -> 10 long."""
    layers: list[nn.Module] = [nn.Unflatten(-1, (1, 40))]
    channels = 1
    for width, stride in ((5, 1), (3, 2), (3, 2), (3, 1)):
        layers += [
            nn.Conv1d(channels, 32, width, stride, padding=width // 2),
            nn.BatchNorm1d(32),
            nn.ReLU(),
        ]
        channels = 32
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 10, 10))


def mlp32() -> nn.Sequential:
    """The MNIST-1D student: one hidden layer of 32."""
    return nn.Sequential(nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 10))


MODELS: dict[str, Callable[[], nn.Module]] = {"cnn": cnn, "mlp32": mlp32, **NETWORKS}


def names_for(dataset: str) -> list[str]:
    """The networks that take the inputs of this data set."""
    return [name for name in MODELS if (name in NETWORKS) == (dataset == "cifar100")]


def build(name: str, seed: int) -> nn.Module:
    """A network with the initial weights of this seed.

    Parameters
    ----------
    name : str
        A key of `MODELS`.
    seed : int
        The same seed gives the same weights; PyTorch's global generator is left as it was.

    Returns
    -------
    nn.Module
        For MNIST-1D from inputs [N, 40] to logits [N, 10]; those of `pld_edu.networks` from
        normalised images [N, 3, 32, 32] to logits [N, 100].

    Raises
    ------
    ValueError
        An unknown name.
    """
    if name not in MODELS:
        raise ValueError(f"no network is called {name!r}; there are {', '.join(MODELS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name]()


def count_parameters(model: nn.Module) -> int:
    """How many numbers training adjusts."""
    return sum(parameter.numel() for parameter in model.parameters())


class StackedMLP(nn.Module):
    """S perceptrons of one shape, run and trained side by side.

    Each layer is one batched matrix product. No student sees another's weights, so the sum of
    their losses gives each the gradient that it would have alone.

    Parameters
    ----------
    models : sequence of S nn.Module
        Linear layers with ReLU between them, as from `build`; their weights are copied.

    Raises
    ------
    ValueError
        No model, or one with other parts than these.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        students = [_linear_layers(model) for model in models]
        if not students:
            raise ValueError("a stack needs at least one model, got none")
        self.weights = nn.ParameterList()  # of Tensor [S, in, out]
        self.biases = nn.ParameterList()  # of Tensor [S, 1, out]
        for layer in zip(*students, strict=True):
            self.weights.append(torch.stack([linear.weight.detach().T for linear in layer]))
            self.biases.append(torch.stack([linear.bias.detach()[None] for linear in layer]))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [S, N, C] of a batch [S, N, in] for each student, or one [N, in] for all."""
        values = inputs.expand(len(self.weights[0]), -1, -1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = torch.baddbmm(bias, values.relu() if layer else values, weight)
        return values


def _linear_layers(model: nn.Module) -> list[nn.Linear]:
    layers = []
    for place, part in enumerate(model.children()):
        if not isinstance(part, nn.ReLU if place % 2 else nn.Linear):
            raise ValueError(
                "only perceptrons can be stacked: Linear, ReLU, Linear, ...; "
                f"part {place} is {type(part).__name__}"
            )
        if isinstance(part, nn.Linear):
            layers.append(part)
    return layers
