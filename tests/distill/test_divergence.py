"""What becomes of a student whose loss is no longer finite, and of those beside it."""

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F

from pld_edu import losses
from pld_edu.distill import train as training
from pld_edu.distill.experiment import Recipe
from pld_edu.distill.networks import Stack, build
from pld_edu.distill.objectives import StackedLoss, make_loss
from pld_edu.distill.train import Learner, Samples, Trainer, predict
from pld_edu.results.methods import Setting
from tests.support.small_images import RECIPE

CE, PLD = Setting("ce", None), Setting("pld", 1.0)


def assert_bit_equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


class Broken(nn.Module):
    """Its loss is NaN from the fifth step on."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, student_logits, teacher_logits, labels):
        self.calls += 1
        return student_logits.mean() * (math.nan if self.calls >= 5 else 1.0)


def test_a_student_that_diverges_is_stopped_and_noted_and_the_others_go_on(
    splits, tmp_path, monkeypatch
):
    """Those that are left are as without it; on a GPU a graph without it is captured."""
    captured = []
    monkeypatch.setattr(training, "can_capture", lambda device: True)
    noted = lambda step, required: captured.append(step) or step  # noqa: E731
    monkeypatch.setattr(training, "GraphedStep", noted)

    def fit(name, others):
        fine = Learner(build("resnet8", 0), lambda s, t, y: F.cross_entropy(s, y))
        trainer = Trainer({"ce": fine, **others}, splits[0], RECIPE, 0)
        trainer.fit(tmp_path / name, progress=False)
        return trainer, fine.network.state_dict()

    lost = build("resnet8", 0)
    trainer, found = fit("two", {"pld-t4": Learner(lost, Broken())})
    assert trainer.diverged == {"pld-t4": {"epoch": 2, "step": 2}}
    assert [list(line) for line in trainer.history] == [["ce", "pld-t4"], ["ce"]]
    assert len(captured) == 2
    _, expected = fit("one", {})
    assert_bit_equal(found, expected)
    saved = torch.load(tmp_path / "two", weights_only=True)
    assert saved["diverged"] == trainer.diverged


def test_without_any_learner_left_a_training_ends(splits, tmp_path):
    broken = Broken()
    trainer = Trainer({"pld-t4": Learner(build("resnet8", 0), broken)}, splits[0], RECIPE, 0)
    trainer.fit(tmp_path / "checkpoint", progress=False)
    assert trainer.diverged == {"pld-t4": {"epoch": 2, "step": 2}}
    assert broken.calls == 5
    again = Trainer({"pld-t4": Learner(build("resnet8", 0), broken)}, splits[0], RECIPE, 0)
    again.fit(tmp_path / "checkpoint", progress=False)
    assert (again.diverged, broken.calls) == (trainer.diverged, 5)


def test_a_student_with_infinite_logits_diverged_though_losses_refuse_them(
    splits, teacher, tmp_path
):
    student = build("resnet8", 0)
    with torch.no_grad():
        student.classifier.bias[0] = math.inf
    learners = {"kd-t1": Learner(student, losses.KDLoss(1.0))}
    trainer = Trainer(learners, splits[0], RECIPE, 0, teacher)
    trainer.fit(tmp_path / "c", progress=False)
    assert trainer.diverged == {"kd-t1": {"epoch": 1, "step": 1}}


def test_a_student_of_a_stack_that_diverges_leaves_the_others_as_they_are(tmp_path):
    generator = torch.Generator().manual_seed(0)
    data = Samples(torch.randn(40, 40, generator=generator), torch.arange(40) % 10)
    teacher_logits = torch.randn(40, 10, generator=generator)
    recipe = Recipe(epochs=3, batch_size=20, learning_rate=0.01, weight_decay=0.1)

    def fit(spoil):
        networks = [build("mlp32", seed) for seed in (0, 1)] * 2
        if spoil:
            with torch.no_grad():
                networks[1] = copy.deepcopy(networks[1])
                next(networks[1].parameters())[0, 0] = math.inf
        names = ("ce 0", "ce 1", "pld 0", "pld 1")
        loss = StackedLoss([make_loss(s) for s in (CE, PLD)])
        stack = Stack(networks)
        trainer = Trainer(
            {"all": Learner(stack, loss, names)}, data, recipe, (0, 1), teacher_logits
        )
        trainer.fit(tmp_path / f"{spoil}", progress=False)
        return trainer, predict(stack, data.inputs)

    trainer, found = fit(spoil=True)
    plain, expected = fit(spoil=False)
    assert trainer.diverged == {"ce 1": {"epoch": 1, "step": 1}}
    others = [0, 2, 3]
    assert_bit_equal(found[others], expected[others])
    for line, its in zip(trainer.history, plain.history, strict=True):
        assert line == {name: own for name, own in its.items() if name != "ce 1"}
