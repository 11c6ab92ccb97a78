import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pld_edu.distill.models import MODELS, StackedMLP, build, count_parameters


@pytest.mark.parametrize("name", ["cnn", "mlp32"])
def test_forty_numbers_in_ten_logits_out(name):
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
    assert str(caught.value).endswith(", ".join(MODELS))


def test_stack_gives_each_model_its_own_output():
    models = [build("mlp32", seed).double() for seed in (4, 1, 4)]
    stack = StackedMLP(models)
    x = torch.randn(3, 5, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for out, model, batch in zip(stack(x), models, x, strict=True):
        torch.testing.assert_close(out, model(batch), rtol=1e-12, atol=1e-12)
    for out, model in zip(stack(x[0]), models, strict=True):
        torch.testing.assert_close(out, model(x[0]), rtol=1e-12, atol=1e-12)


def test_training_the_stack_is_training_each_model_alone():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 20, 40, dtype=torch.float64, generator=generator)  # [step, model, ...]
    y = torch.randint(10, (6, 3, 20), generator=generator)
    models = [build("mlp32", seed).double() for seed in range(3)]
    stack = StackedMLP(models)
    optimizer = torch.optim.AdamW(stack.parameters(), lr=0.05, weight_decay=0.3)
    for batch, labels in zip(x, y, strict=True):
        optimizer.zero_grad()
        losses = [F.cross_entropy(z, own) for z, own in zip(stack(batch), labels, strict=True)]
        torch.stack(losses).sum().backward()
        optimizer.step()
    for place, model in enumerate(models):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.3)
        for batch, labels in zip(x[:, place], y[:, place], strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(batch), labels).backward()
            optimizer.step()
        for layer, linear in enumerate((model[0], model[2])):
            weight, bias = stack.weights[layer][place].T, stack.biases[layer][place, 0]
            torch.testing.assert_close(weight, linear.weight, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(bias, linear.bias, rtol=1e-9, atol=1e-9)
        assert not torch.equal(model[0].weight.float(), build("mlp32", place)[0].weight)


def test_only_perceptrons_can_be_stacked():
    with pytest.raises(ValueError, match=r"only perceptrons .* part 0 is Unflatten"):
        StackedMLP([build("cnn", 0)])
    with pytest.raises(ValueError, match="at least one model"):
        StackedMLP([])
