from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models as torchvision_models
from torchvision.models.resnet import BasicBlock

from pld_edu.distill.networks import (
    CIFAR100,
    MNIST1D,
    NARROW,
    NETWORKS,
    WIDE,
    PostActivationBlock,
    PreActivationBlock,
    Stack,
    build,
    check_name,
    count_parameters,
    resnet,
    wide_resnet,
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
}


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", CIFAR100)
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
    assert count_parameters(resnet(depth, widths)) == total


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
    assert count_parameters(wide_resnet(depth, width)) == total


def test_mobilenetv2_has_its_published_parameters_but_for_900_classes():
    published = torchvision_models.MobileNet_V2_Weights.DEFAULT.meta["num_params"]
    assert count_parameters(build("mobilenetv2", 0)) == published - 900 * (1280 + 1)


@pytest.mark.parametrize(("name", "side"), FINAL_SIDE.items())
def test_how_much_of_the_image_is_left_to_pool(name, side):
    network = build(name, 0).eval()
    seen = []
    network.features.register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[-2:])
    )
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


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "mobilenetv2_x0_5"])
def test_every_parameter_takes_part(name):
    network = build(name, 0)
    F.cross_entropy(network(noise(4, 3, 32, 32)), torch.arange(4)).backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.count_nonzero() > 0


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "mobilenetv2_x0_5"])
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


@pytest.mark.parametrize("name", CIFAR100)
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
        resnet(18, NARROW)
    with pytest.raises(ValueError, match=r"depth must be 6n \+ 4 with n at least 1, got 4"):
        wide_resnet(4, 1)


def test_forty_numbers_in_ten_logits_out():
    assert list(MNIST1D) == ["cnn", "mlp32"]
    for name in MNIST1D:
        assert build(name, 0).eval()(torch.zeros(3, 40)).shape == (3, 10)


def test_initial_weights_are_those_that_torch_gives_for_the_seed():
    torch.manual_seed(7)
    first, second = nn.Linear(40, 32), nn.Linear(32, 10)
    student = build("mlp32", 7)
    for mine, torchs in zip((student[0], student[2]), (first, second), strict=True):
        assert torch.equal(mine.weight, torchs.weight)
        assert torch.equal(mine.bias, torchs.bias)


def test_build_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    build("mlp32", 0)
    assert torch.equal(torch.rand(2), expected)


def test_the_student_is_much_smaller_than_the_teacher():
    student = 40 * 32 + 32 + 32 * 10 + 10
    assert count_parameters(build("mlp32", 0)) == student
    assert count_parameters(build("cnn", 0)) > 5 * student


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no network is called 'resnet'; there are ") as caught:
        build("resnet", 0)
    assert str(caught.value).endswith(", ".join(NETWORKS))
    with pytest.raises(
        ValueError, match="no network for mnist1d is called 'resnet8'; there are cnn"
    ):
        check_name("resnet8", "mnist1d")
    check_name("resnet8", "cifar100")


@pytest.mark.parametrize(("name", "shape"), [("mlp32", (40,)), ("cnn", (40,))])
def test_a_stack_gives_each_network_its_own_output(name, shape):
    networks = [build(name, seed).double() for seed in (4, 1, 4, 2)]
    stack = Stack(networks)
    x = torch.randn(4, 5, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for inputs in (x, x[:2], x[:1]):  # fewer batches than networks: in turn
        batches = [inputs[place % len(inputs)] for place in range(4)]
        for out, network, batch in zip(stack(inputs), networks, batches, strict=True):
            torch.testing.assert_close(out, network(batch), rtol=1e-12, atol=1e-12)


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.3)


def sgd(parameters):
    # What AdamW would make of the CNN's biases before batch normalisation, whose gradient is 0 but
    # for rounding, is anybody's guess.
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


@pytest.mark.parametrize(("name", "make_optimizer"), [("mlp32", adamw), ("cnn", sgd)])
def test_training_a_stack_is_training_each_network_alone(name, make_optimizer):
    """Batch statistics included, which the CNN has."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 20, 40, dtype=torch.float64, generator=generator)  # [step, network, ...]
    y = torch.randint(10, (4, 3, 20), generator=generator)
    networks = [build(name, seed).double() for seed in range(3)]
    stack = Stack(networks)
    optimizer = make_optimizer(stack.parameters())
    for batch, labels in zip(x, y, strict=True):
        optimizer.zero_grad()
        losses = [F.cross_entropy(z, own) for z, own in zip(stack(batch), labels, strict=True)]
        torch.stack(losses).sum().backward()
        optimizer.step()
    for place, network in enumerate(networks):
        optimizer = make_optimizer(network.parameters())
        for batch, labels in zip(x[:, place], y[:, place], strict=True):
            optimizer.zero_grad()
            F.cross_entropy(network(batch), labels).backward()
            optimizer.step()
        found = {key: value[place] for key, value in stack.network.state_dict().items()}
        torch.testing.assert_close(found, dict(network.state_dict()), rtol=1e-9, atol=1e-9)
    evaluated = [n.eval()(batch) for n, batch in zip(networks, x[-1], strict=True)]
    torch.testing.assert_close(stack.eval()(x[-1]), torch.stack(evaluated), rtol=1e-9, atol=1e-9)


def test_a_stack_needs_a_network():
    with pytest.raises(ValueError, match="a stack needs at least one network, got none"):
        Stack([])
