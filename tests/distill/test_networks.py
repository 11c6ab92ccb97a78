from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F
from torchvision import models as torchvision_models
from torchvision.models.resnet import BasicBlock

from pld_edu.distill.models import build, count_parameters
from pld_edu.distill.networks import (
    NARROW,
    NETWORKS,
    WIDE,
    PostActivationBlock,
    PreActivationBlock,
    ResNet,
    WideResNet,
)

# In millions, as the CIFAR-100 distillation literature gives them.
PUBLISHED = {
    "resnet8": 0.08,
    "resnet20": 0.28,
    "resnet56": 0.86,
    "resnet110": 1.74,
    "resnet8x4": 1.23,
    "resnet32x4": 7.43,
    "wrn_16_2": 0.70,
    "wrn_40_1": 0.57,
    "wrn_40_2": 2.26,
}
FINAL_SIDE = {
    "resnet8": 8,
    "resnet8x4": 8,
    "wrn_16_2": 8,
    "mobilenetv2": 2,
    "mobilenetv2_x0_25": 1,
    "shufflenetv2": 4,
}


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_in_a_hundred_logits_out(name):
    with torch.no_grad():
        assert build(name, 0).eval()(noise(2, 3, 32, 32)).shape == (2, 100)


@pytest.mark.parametrize(("name", "millions"), PUBLISHED.items())
def test_published_parameter_counts(name, millions):
    assert round(count_parameters(build(name, 0)) / 1e6, 2) == millions


def convolutions(inputs, outputs, blocks):
    """Weights of a stage: 3x3 convolutions, and a 1x1 projection where the shape changes."""
    return 9 * outputs * (inputs + (2 * blocks - 1) * outputs)


@pytest.mark.parametrize("widths", [NARROW, WIDE])
@pytest.mark.parametrize("depth", [8, 20, 32, 56])
def test_resnet_parameters_counted_by_hand(depth, widths):
    blocks = (depth - 2) // 6
    total = 27 * widths[0] + 2 * widths[0]
    for stage, (inputs, outputs) in enumerate(pairwise(widths)):
        total += convolutions(inputs, outputs, blocks) + 2 * outputs * 2 * blocks
        if stage or inputs != outputs:
            total += inputs * outputs + 2 * outputs
    total += 100 * widths[-1] + 100
    assert count_parameters(ResNet(depth, widths)) == total


@pytest.mark.parametrize(("depth", "width"), [(16, 1), (16, 2), (40, 1), (40, 2)])
def test_wide_resnet_parameters_counted_by_hand(depth, width):
    blocks = (depth - 4) // 6
    total, inputs = 27 * 16, 16
    for stage, outputs in enumerate((16 * width, 32 * width, 64 * width)):
        total += convolutions(inputs, outputs, blocks)
        total += 2 * inputs + 2 * outputs * (2 * blocks - 1)
        if stage or inputs != outputs:
            total += inputs * outputs
        inputs = outputs
    total += 2 * inputs + 100 * inputs + 100
    assert count_parameters(WideResNet(depth, width)) == total


@pytest.mark.parametrize(
    ("name", "weights", "features"),
    [
        ("mobilenetv2", torchvision_models.MobileNet_V2_Weights.DEFAULT, 1280),
        ("shufflenetv2", torchvision_models.ShuffleNet_V2_X1_0_Weights.DEFAULT, 1024),
        ("shufflenetv2_x0_5", torchvision_models.ShuffleNet_V2_X0_5_Weights.DEFAULT, 1024),
    ],
)
def test_mobile_networks_have_their_published_parameters_but_for_900_classes(
    name, weights, features
):
    expected = weights.meta["num_params"] - 900 * (features + 1)
    assert count_parameters(build(name, 0)) == expected


@pytest.mark.parametrize(("name", "side"), FINAL_SIDE.items())
def test_how_much_of_the_image_is_left_to_pool(name, side):
    network = build(name, 0).eval()
    last = network.conv5 if name == "shufflenetv2" else network.features
    seen = []
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[-2:]))
    with torch.no_grad():
        network(noise(1, 3, 32, 32))
    assert seen == [(side, side)]


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(8, 8, 1), (8, 16, 1), (8, 16, 2)])
def test_post_activation_block_is_torchvisions(inputs, outputs, stride):
    mine = PostActivationBlock(inputs, outputs, stride)
    same = inputs == outputs and stride == 1
    theirs = BasicBlock(inputs, outputs, stride, None if same else mine.shortcut)
    theirs.conv1, theirs.bn1, _, theirs.conv2, theirs.bn2 = mine.residual
    x = noise(4, inputs, 6, 6)
    torch.testing.assert_close(mine(x), theirs(x), rtol=0, atol=0)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(8, 8, 1), (8, 16, 1), (8, 16, 2)])
def test_pre_activation_block_by_its_formula(inputs, outputs, stride):
    block = PreActivationBlock(inputs, outputs, stride).double()
    x = noise(4, inputs, 6, 6).double()

    def active(values):
        centred = values - values.mean(dim=(0, 2, 3), keepdim=True)
        variance = centred.square().mean(dim=(0, 2, 3), keepdim=True)
        return (centred / (variance + 1e-5).sqrt()).clamp(min=0)

    first, second = block.residual[0].weight, block.residual[3].weight
    inner = F.conv2d(active(x), first, stride=stride, padding=1)
    expected = F.conv2d(active(inner), second, padding=1)
    if block.projection is None:
        expected = expected + x
    else:
        weight = block.projection.weight[:, :, 0, 0]
        expected = expected + torch.einsum(
            "oi,nihw->nohw", weight, active(x)[:, :, ::stride, ::stride]
        )
    torch.testing.assert_close(block(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "mobilenetv2_x0_5", "shufflenetv2_x0_5"])
def test_every_parameter_takes_part(name):
    network = build(name, 0)
    F.cross_entropy(network(noise(4, 3, 32, 32)), torch.arange(4)).backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.count_nonzero() > 0


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "mobilenetv2_x0_5", "shufflenetv2_x0_5"])
def test_channels_last_changes_nothing_but_the_layout(name):
    x, network = noise(2, 3, 32, 32).double(), build(name, 0).double().eval()
    with torch.no_grad():
        expected = network(x)
        last = torch.channels_last
        found = network.to(memory_format=last)(x.contiguous(memory_format=last))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_convolutions_start_as_he_et_al_propose():
    network = build("resnet8x4", 0)
    weight = network.features[-1].residual[3].weight  # 3x3, 256 to 256
    assert weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_drawn_while_training(name):
    network, images = build(name, 0).train(), noise(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))


def test_the_seed_fixes_the_weights():
    first, again, other = (build("resnet8", seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["features.0.weight"], other["features.0.weight"])


def test_a_depth_that_does_not_exist():
    with pytest.raises(ValueError, match=r"depth must be 6n \+ 2 with n at least 1, got 18"):
        ResNet(18, NARROW)
    with pytest.raises(ValueError, match=r"depth must be 6n \+ 4 with n at least 1, got 4"):
        WideResNet(4, 1)
