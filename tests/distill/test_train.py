import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pld_edu import losses
from pld_edu.distill import train as together
from pld_edu.distill.augment import crop_and_flip, draw_views, normalise
from pld_edu.distill.models import build
from pld_edu.distill.objectives import warming_loss
from pld_edu.distill.train import Learner, predict, to_device, train_together
from pld_edu.distill.training import batches
from pld_edu.results.methods import Setting
from tests.support.small_images import RECIPE, slice_of_cifar100

CPU = torch.device("cpu")
SETTINGS = [Setting("ce", None), Setting("dist", 4.0), Setting("dkd", 4.0), Setting("pld", 1.0)]


@pytest.fixture(scope="module")
def splits():
    return [to_device(split, "cpu") for split in slice_of_cifar100(48, 20, 40)]


@pytest.fixture(scope="module")
def teacher():
    return build("resnet14", 7).eval().requires_grad_(False)


def train(names, splits, teacher, path, seed=3, **options):
    learners = {
        setting.name: Learner(build("resnet8", seed), warming_loss(setting, CPU))
        for setting in SETTINGS
        if setting.name in names
    }
    found = train_together(
        learners, splits[0], RECIPE, seed, path, teacher=teacher, progress=False, **options
    )
    return {name: learner.network for name, learner in learners.items()}, *found


def states(networks):
    return {name: network.state_dict() for name, network in networks.items()}


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_shared_batches_give_each_method_what_it_gets_alone(splits, teacher, tmp_path):
    names = [setting.name for setting in SETTINGS]
    together, history, _ = train(names, splits, teacher, tmp_path / "together")
    for name in names:
        alone, own_history, _ = train([name], splits, teacher, tmp_path / name)
        assert_same(alone[name].state_dict(), together[name].state_dict())
        assert [line[name] for line in own_history] == [line[name] for line in history]
    weights = [network.classifier.weight for network in together.values()]
    assert all(not torch.equal(weights[0], other) for other in weights[1:])


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_training_is_a_plain_loop(setting, splits, tmp_path, monkeypatch):
    # In float64, because a few steps blow up what two orders of summation differ by.
    monkeypatch.setattr(together, "normalise", lambda images: normalise(images).double())
    student, teacher = build("resnet8", 3).double(), build("resnet14", 7).double().eval()
    learner = Learner(copy.deepcopy(student), warming_loss(setting, CPU))
    checkpoint = tmp_path / "checkpoint"
    history, _ = train_together(
        {setting.name: learner}, splits[0], RECIPE, 3, checkpoint, teacher=teacher, progress=False
    )

    optimizer = torch.optim.SGD(
        student.parameters(), lr=1.0, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    step, total, seen = 0, 2 * 3, []
    for epoch in range(2):
        for place, rows in enumerate(batches(3, epoch, 48, 16)):
            optimizer.param_groups[0]["lr"] = 0.02 * 0.5 * (1 + math.cos(math.pi * step / total))
            images = normalise(torch.from_numpy(splits[0].inputs.numpy()[rows])).double()
            images = crop_and_flip(images, draw_views(3, epoch, place, 16))
            labels = splits[0].labels[rows]
            s, t = student(images), teacher(images)
            loss = {
                "ce": F.cross_entropy(s, labels),
                "dist": losses.DISTLoss(temperature=4.0)(s, t, labels),
                # DKD's term rises over 20 of 240 epochs, here half a step.
                "dkd": F.cross_entropy(s, labels)
                + min(1.0, step / (total * 20 / 240)) * losses.dkd_loss(s, t, labels),
                "pld": losses.PLDLoss()(s, t, labels),
            }[setting.method]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
            step += 1
    learnt, expected = learner.network.state_dict(), student.state_dict()
    torch.testing.assert_close(learnt, expected, rtol=1e-8, atol=1e-10)
    means = [line[setting.name]["train_loss"] for line in history]
    assert means == pytest.approx([np.mean(seen[:3]), np.mean(seen[3:])], rel=1e-5)


def test_an_interrupted_training_resumes_to_the_same_bits(splits, teacher, tmp_path):
    names = [setting.name for setting in SETTINGS]
    through, history, _ = train(names, splits, teacher, tmp_path / "through")

    class Interrupted(Exception):
        pass

    def interrupt(name):
        measured.append(name)
        if len(measured) == len(names) + 2:  # after the second epoch's steps, before its checkpoint
            raise Interrupted
        return {}

    measured = []
    with pytest.raises(Interrupted):
        train(names, splits, teacher, tmp_path / "broken", after_epoch=interrupt)
    resumed, its_history, _ = train(names, splits, teacher, tmp_path / "broken")
    assert_same(states(resumed), states(through))
    assert its_history == history


def test_what_a_gpu_replays_is_what_a_cpu_does(splits, teacher, tmp_path, monkeypatch):
    """All of it but the CUDA graph: fixed buffers, a learning rate in a tensor, warm-up undone."""
    names = [setting.name for setting in SETTINGS]
    plain, history, _ = train(names, splits, teacher, tmp_path / "plain")

    def recorded(function, device):
        for _ in range(3):
            function()
        return function

    monkeypatch.setattr(together, "can_record", lambda device: True)
    monkeypatch.setattr(together, "recorded", recorded)
    replayed, its_history, _ = train(names, splits, teacher, tmp_path / "replayed")
    torch.testing.assert_close(states(replayed), states(plain), rtol=1e-5, atol=1e-6)
    for name in names:
        found, expected = ([line[name]["train_loss"] for line in h] for h in (its_history, history))
        assert found == pytest.approx(expected, rel=1e-6)


def test_a_run_begun_on_a_gpu_goes_on_without(splits, teacher, tmp_path, monkeypatch):
    plain, *_ = train(["ce"], splits, teacher, tmp_path / "plain")

    class Interrupted(Exception):
        pass

    def interrupt(name):
        measured.append(name)
        if len(measured) == 2:
            raise Interrupted
        return {}

    measured = []
    with monkeypatch.context() as patch:
        patch.setattr(together, "can_record", lambda device: True)
        with pytest.raises(Interrupted):
            train(["ce"], splits, teacher, tmp_path / "moved", after_epoch=interrupt)
    resumed, *_ = train(["ce"], splits, teacher, tmp_path / "moved")
    torch.testing.assert_close(states(resumed), states(plain), rtol=1e-5, atol=1e-6)


def test_a_finished_checkpoint_is_only_loaded(splits, teacher, tmp_path):
    first, history, seconds = train(["ce"], splits, teacher, tmp_path / "checkpoint")
    again, *rest = train(["ce"], splits, teacher, tmp_path / "checkpoint")
    assert rest == [history, seconds]
    assert_same(states(again), states(first))


class Broken(nn.Module):
    """Its loss is NaN from the fifth step on."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, student_logits, teacher_logits, labels):
        self.calls += 1
        return student_logits.mean() * (math.nan if self.calls >= 5 else 1.0)


def test_a_loss_that_is_not_finite_is_named_with_epoch_and_step(splits, tmp_path):
    fine = Learner(build("resnet8", 0), lambda s, t, y: F.cross_entropy(s, y))
    learners = {"ce": fine, "pld-t4": Learner(build("resnet8", 0), Broken())}
    message = "the loss of pld-t4 became nan in epoch 2, step 2; a lower learning rate may help"
    with pytest.raises(FloatingPointError, match=message):
        train_together(learners, splits[0], RECIPE, 0, tmp_path / "checkpoint", progress=False)
    assert torch.load(tmp_path / "checkpoint", weights_only=True)["epochs"] == 1


def test_a_student_that_diverged_is_named_before_a_loss_refuses_its_logits(splits, tmp_path):
    student = build("resnet8", 0)
    with torch.no_grad():
        student.classifier.bias[0] = math.inf
    learners = {"kd-t1": Learner(student, losses.KDLoss(1.0))}
    teacher = build("resnet8", 1).eval()
    with pytest.raises(FloatingPointError, match=r"kd-t1 became inf in epoch 1, step 1;"):
        train_together(
            learners, splits[0], RECIPE, 0, tmp_path / "c", teacher=teacher, progress=False
        )


def test_predictions_do_not_depend_on_how_images_are_grouped(splits, monkeypatch):
    network = build("resnet8", 0)
    whole = network.eval()(normalise(splits[0].inputs))
    monkeypatch.setattr("pld_edu.distill.train.CHUNK", 7)
    torch.testing.assert_close(predict(network, splits[0].inputs), whole, rtol=1e-4, atol=1e-5)


def test_bfloat16_gives_float32_logits_that_are_close(splits):
    network = build("resnet8", 0)
    exact = predict(network, splits[0].inputs)
    rough = predict(network, splits[0].inputs, "bfloat16")
    assert rough.dtype == torch.float32
    error = (rough - exact).abs().max() / exact.abs().max()
    assert 0 < error < 0.05  # 8 bits of mantissa, a dozen layers
