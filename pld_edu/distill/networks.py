"""Networks for 32x32 colour images and 100 classes: residual networks, and two mobile ones.

The residual networks follow the CIFAR-100 distillation benchmark of Tian, Krishnan and Isola
("Contrastive Representation Distillation", 2020): convolutions without bias, batch normalisation,
1x1 projections where a shortcut changes shape, global average pooling, one linear layer. Their
convolutions start as He et al. (2015) propose. Every network takes float [N, 3, 32, 32].
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

CLASSES = 100


class ResNet(nn.Module):
    """ResNet for small images (He, Zhang, Ren and Sun 2016, section 4.2).

    Parameters
    ----------
    depth : int
        6n + 2: a first convolution, three stages of n blocks of two, a linear layer.
    widths : four int
        Channels of the first convolution and of the stages, at 32x32, 32x32, 16x16 and 8x8.

    Raises
    ------
    ValueError
        A depth that is not 6n + 2.
    """

    def __init__(self, depth: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        blocks = _blocks_per_stage(depth, 2)
        layers: list[nn.Module] = [_conv(3, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU()]
        layers += _stages(PostActivationBlock, widths, blocks)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(widths[-1], CLASSES)
        _he_initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, 100]."""
        return self.classifier(self.features(images).mean(dim=(-2, -1)))


class WideResNet(nn.Module):
    """WRN-depth-width (Zagoruyko and Komodakis 2016), normalised before each convolution.

    Parameters
    ----------
    depth : int
        6n + 4: as in `ResNet`, and the authors also count two projections.
    width : int
        The stages have 16, 32 and 64 times as many channels.

    Raises
    ------
    ValueError
        A depth that is not 6n + 4.
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        blocks = _blocks_per_stage(depth, 4)
        widths = 16, 16 * width, 32 * width, 64 * width
        stages = _stages(PreActivationBlock, widths, blocks)
        last = [nn.BatchNorm2d(widths[-1]), nn.ReLU()]
        self.features = nn.Sequential(_conv(3, 16), *stages, *last)
        self.classifier = nn.Linear(widths[-1], CLASSES)
        _he_initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, 100]."""
        return self.classifier(self.features(images).mean(dim=(-2, -1)))


class PostActivationBlock(nn.Module):
    """relu(shortcut + BN(conv(relu(BN(conv))))): the block of the first residual networks."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _conv(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            _conv(outputs, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(_projection(inputs, outputs, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, values: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return torch.relu(self.shortcut(values) + self.residual(values))


class PreActivationBlock(nn.Module):
    """shortcut + conv(relu(BN(conv(relu(BN))))); a projection also reads the normalised values."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.residual = nn.Sequential(
            _conv(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            _conv(outputs, outputs),
        )
        same = inputs == outputs and stride == 1
        self.projection = None if same else _projection(inputs, outputs, stride)

    def forward(self, values: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        active = self.activation(values)
        shortcut = values if self.projection is None else self.projection(active)
        return shortcut + self.residual(active)


def mobilenetv2(width: float, stride: int = 1) -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018) from torchvision; its first convolution keeps 32x32.

    Images shrink 16 times instead of 32, to 2x2 before the pooling; with `stride` 2, as torchvision
    has it, to one pixel, at a quarter of the cost. The distillation benchmark's "MobileNetV2" has
    half the width; torchvision, which rounds widths to multiples of 8, makes that 0.82 million
    parameters where the benchmark has 0.81. Without dropout: it would draw from the global
    generator, and students trained side by side would no longer be paired.
    """
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2(num_classes=CLASSES, width_mult=width, dropout=0.0)
    network.features[0][0].stride = (stride, stride)
    return network


def shufflenetv2(width: str) -> nn.Module:
    """ShuffleNetV2 (Ma et al. 2018) from torchvision, without its first two halvings of the image.

    The first convolution has stride 1 and no max-pooling follows, so 4x4 are left to pool. The
    distillation benchmark's "ShuffleNetV2" has width x1.0.
    """
    from torchvision import models

    network = getattr(models, f"shufflenet_v2_{width}")(num_classes=CLASSES)
    network.conv1[0].stride = (1, 1)
    network.maxpool = nn.Identity()
    return network


NARROW, WIDE = (16, 16, 32, 64), (32, 64, 128, 256)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{f"resnet{depth}": partial(ResNet, depth, NARROW) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": partial(ResNet, depth, WIDE) for depth in (8, 32)},
    **{
        f"wrn_{depth}_{width}": partial(WideResNet, depth, width)
        for depth in (16, 40)
        for width in (1, 2)
    },
    "mobilenetv2": partial(mobilenetv2, 1.0),
    "mobilenetv2_x0_5": partial(mobilenetv2, 0.5),
    "mobilenetv2_x0_25": partial(mobilenetv2, 0.25, stride=2),  # for a CPU
    "shufflenetv2": partial(shufflenetv2, "x1_0"),
    "shufflenetv2_x0_5": partial(shufflenetv2, "x0_5"),
}


def _blocks_per_stage(depth: int, extra: int) -> int:
    blocks, rest = divmod(depth - extra, 6)
    if blocks < 1 or rest:
        raise ValueError(f"depth must be 6n + {extra} with n at least 1, got {depth}")
    return blocks


def _stages(
    block: Callable[[int, int, int], nn.Module], widths: tuple[int, int, int, int], blocks: int
) -> list[nn.Module]:
    """Three stages; the second and third halve the image in their first block."""
    layers = []
    for stage, (inputs, outputs) in enumerate(pairwise(widths)):
        layers.append(block(inputs, outputs, 2 if stage else 1))
        layers += [block(outputs, outputs, 1) for _ in range(blocks - 1)]
    return layers


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def _projection(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


def _he_initialise(network: nn.Module) -> None:
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
