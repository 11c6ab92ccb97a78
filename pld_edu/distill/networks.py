"""All networks by name: those for MNIST-1D, and residual and mobile ones for CIFAR-100.

The residual networks follow the CIFAR-100 distillation benchmark of Tian, Krishnan and Isola
("Contrastive Representation Distillation", 2020): convolutions without bias, batch normalisation,
1x1 projections where a shortcut changes shape, global average pooling, one linear layer. Their
convolutions start as He et al. (2015) propose.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

CLASSES = 100


def build(name: str, seed: int) -> nn.Module:
    """A network of `NETWORKS` with the initial weights of this seed; other names: ValueError.

    For MNIST-1D it takes inputs [N, 40] to logits [N, 10]; for CIFAR-100 normalised images
    [N, 3, 32, 32] to logits [N, 100]. PyTorch's global generator is left as it was.
    """
    check_name(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name]()


def check_name(name: str, dataset: str = "") -> None:
    """A ValueError, with the names there are, if no network (for this data set) is called so."""
    known = {"mnist1d": MNIST1D, "": NETWORKS}.get(dataset, CIFAR100)
    if name not in known:
        which = f"network for {dataset}" if dataset else "network"
        raise ValueError(f"no {which} is called {name!r}; there are {', '.join(known)}")


def count_parameters(network: nn.Module) -> int:
    """How many numbers training adjusts."""
    return sum(parameter.numel() for parameter in network.parameters())


class Stack(nn.Module):
    """S networks of one architecture, at least one, run and trained side by side as one.

    Their weights are copied; parameters, and buffers such as batch statistics, get a leading
    dimension [S, ...]. No network sees another's weights, so the sum of their losses gives each the
    gradient that it would have alone.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if not networks:
            raise ValueError("a stack needs at least one network, got none")
        self.network = copy.deepcopy(networks[0])
        parameters, buffers = torch.func.stack_module_state(list(networks))
        for name, value in (parameters | buffers).items():
            path, _, attribute = name.rpartition(".")
            stacked = nn.Parameter(value.detach()) if name in parameters else value
            setattr(self.network.get_submodule(path), attribute, stacked)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [S, N, C] of batches [R, N, ...]: network i sees batch i modulo R."""
        state = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        size = len(next(iter(state.values())))
        batches = torch.cat([inputs] * (size // len(inputs)))
        return torch.vmap(partial(torch.func.functional_call, self.network))(state, batches)


def cnn() -> nn.Sequential:
    """The MNIST-1D teacher: four convolutions of 32 channels, 40 -> 40 -> 20 -> 10 -> 10 long."""
    layers: list[nn.Module] = [nn.Unflatten(-1, (1, 40))]
    channels = 1
    for width, stride in ((5, 1), (3, 2), (3, 2), (3, 1)):
        convolution = nn.Conv1d(channels, 32, width, stride, padding=width // 2)
        layers += [convolution, nn.BatchNorm1d(32), nn.ReLU()]
        channels = 32
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 10, 10))


def mlp32() -> nn.Sequential:
    """The MNIST-1D student: one hidden layer of 32."""
    return nn.Sequential(nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 10))


class ResidualNetwork(nn.Module):
    """Layers that keep the image's axes, the mean over those, and one linear layer."""

    def __init__(self, layers: Sequence[nn.Module], width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, CLASSES)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, 100]."""
        seen = self.features(images).mean(dim=(-2, -1))
        # In float32 even if the rest is bfloat16, in which most rows of logits would have ties.
        with torch.autocast(seen.device.type, enabled=False):
            return self.classifier(seen.to(self.classifier.weight.dtype))


def resnet(depth: int, widths: Sequence[int]) -> ResidualNetwork:
    """ResNet for small images (He, Zhang, Ren and Sun 2016, section 4.2).

    The depth is 6n + 2: a first convolution, three stages of n blocks of two, at 32x32, 16x16 and
    8x8, and the linear layer; `widths` are the channels of the first convolution and of the stages.
    """
    first = [_conv(3, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    return ResidualNetwork([*first, *_stages(PostActivationBlock, widths, depth, 2)], widths[-1])


def wide_resnet(depth: int, width: int) -> ResidualNetwork:
    """WRN-depth-width (Zagoruyko and Komodakis 2016), normalised before each convolution.

    The depth is 6n + 4: as in `resnet`, and the authors also count two projections. The stages have
    16, 32 and 64 times `width` channels.
    """
    widths = 16, 16 * width, 32 * width, 64 * width
    last = nn.BatchNorm2d(widths[-1]), nn.ReLU()
    stages = _stages(PreActivationBlock, widths, depth, 4)
    return ResidualNetwork([_conv(3, 16), *stages, *last], widths[-1])


class PostActivationBlock(nn.Module):
    """relu(shortcut + BN(conv(relu(BN(conv))))): the block of the first residual networks.

    From [N, inputs, H, W] to [N, outputs, H / stride, W / stride], as the other block.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = _two_convolutions(inputs, outputs, stride).append(nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride > 1:
            projection = _conv(inputs, outputs, stride, width=1)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, values: Tensor) -> Tensor:
        return torch.relu(self.shortcut(values) + self.residual(values))


class PreActivationBlock(nn.Module):
    """shortcut + conv(relu(BN(conv(relu(BN))))); a projection also reads the normalised values."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.residual = _two_convolutions(inputs, outputs, stride)
        same = inputs == outputs and stride == 1
        self.projection = None if same else _conv(inputs, outputs, stride, width=1)

    def forward(self, values: Tensor) -> Tensor:
        active = self.activation(values)
        shortcut = values if self.projection is None else self.projection(active)
        return shortcut + self.residual(active)


def mobilenetv2(width: float, stride: int = 1) -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018) from torchvision; its first convolution keeps 32x32.

    Images shrink to 2x2 before the pooling; with `stride` 2, as torchvision has it, to one pixel,
    at a quarter of the cost. The benchmark's "MobileNetV2" has half the width, and 0.81 million
    parameters where torchvision's rounded widths make it 0.82. Without dropout: it would draw from
    the global generator, and students trained side by side would no longer be paired.
    """
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2(num_classes=CLASSES, width_mult=width, dropout=0.0)
    network.features[0][0].stride = (stride, stride)
    return network


NARROW, WIDE = (16, 16, 32, 64), (32, 64, 128, 256)
MNIST1D: dict[str, Callable[[], nn.Module]] = {"cnn": cnn, "mlp32": mlp32}
CIFAR100: dict[str, Callable[[], nn.Module]] = {
    **{f"resnet{depth}": partial(resnet, depth, NARROW) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": partial(resnet, depth, WIDE) for depth in (8, 32)},
    **{f"wrn_{d}_{w}": partial(wide_resnet, d, w) for d in (16, 40) for w in (1, 2)},
    "mobilenetv2": partial(mobilenetv2, 1.0),
    "mobilenetv2_x0_5": partial(mobilenetv2, 0.5),
    "mobilenetv2_x0_25": partial(mobilenetv2, 0.25, stride=2),  # for a CPU
}
NETWORKS = MNIST1D | CIFAR100


def _stages(
    block: Callable[[int, int, int], nn.Module], widths: Sequence[int], depth: int, extra: int
) -> list[nn.Module]:
    """Three stages of n blocks; the second and third halve the image in their first block."""
    blocks, rest = divmod(depth - extra, 6)
    if blocks < 1 or rest:
        raise ValueError(f"depth must be 6n + {extra} with n at least 1, got {depth}")
    layers = []
    for stage, (inputs, outputs) in enumerate(pairwise(widths)):
        layers.append(block(inputs, outputs, 2 if stage else 1))
        layers += [block(outputs, outputs, 1) for _ in range(blocks - 1)]
    return layers


def _two_convolutions(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first, second = _conv(inputs, outputs, stride), _conv(outputs, outputs)
    return nn.Sequential(first, nn.BatchNorm2d(outputs), nn.ReLU(), second)


def _conv(inputs: int, outputs: int, stride: int = 1, width: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, width, stride, padding=width // 2, bias=False)
