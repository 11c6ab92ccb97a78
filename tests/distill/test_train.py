import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pld_edu import losses
from pld_edu.distill import train as training
from pld_edu.distill.augment import crop_and_flip, draw_views, normalise
from pld_edu.distill.experiment import Recipe
from pld_edu.distill.networks import Stack, build
from pld_edu.distill.objectives import make_loss
from pld_edu.distill.stopping import OutOfTime, Stop
from pld_edu.distill.train import Learner, Samples, Trainer, batches, logits_of, predict
from pld_edu.results.methods import Setting
from tests.support.small_images import RECIPE

SETTINGS = [Setting("ce", None), Setting("dist", 4.0), Setting("dkd", 4.0), Setting("pld", 1.0)]
ADAMW = Recipe(epochs=2, batch_size=16, learning_rate=0.01, weight_decay=0.05)


@pytest.fixture
def exact_teacher(teacher, monkeypatch):
    """In float64, as all that meets it: a few steps blow up rounding."""
    monkeypatch.setattr(training, "normalise", lambda images: normalise(images).double())
    return copy.deepcopy(teacher).double()


def train(settings, splits, teacher, checkpoint, recipe=RECIPE, **options):
    dtype = next(teacher.parameters()).dtype
    learners = {s.name: Learner(build("resnet8", 3).to(dtype), make_loss(s)) for s in settings}
    trainer = Trainer(learners, splits[0], recipe, 3, teacher)
    history, seconds = trainer.fit(checkpoint, progress=False, **options)
    return {name: learner.network for name, learner in learners.items()}, history, seconds


@pytest.fixture(scope="module")
def plain(splits, teacher, tmp_path_factory):
    return train(SETTINGS, splits, teacher, tmp_path_factory.mktemp("plain") / "checkpoint")


def states(networks):
    return {name: network.state_dict() for name, network in networks.items()}


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_batches_are_a_permutation_without_its_remainder():
    found = batches(seed=3, epoch=5, samples=23, batch_size=5)
    assert found.shape == (4, 5)
    assert len(np.unique(found)) == 20
    assert set(found.ravel()) <= set(range(23))


def test_batches_depend_on_seed_and_epoch_and_on_nothing_else():
    np.testing.assert_array_equal(batches(3, 5, 20, 5), batches(3, 5, 20, 5))
    assert not np.array_equal(batches(3, 5, 20, 5), batches(4, 5, 20, 5))
    assert not np.array_equal(batches(3, 5, 20, 5), batches(3, 6, 20, 5))


def test_the_learning_rate_falls_along_half_a_cosine(tmp_path):
    # With betas that cancel, AdamW moves a weight with a constant gradient by -lr in each step.
    network = nn.Linear(1, 1, bias=False).double()
    places = []

    def loss(s, t, y):
        places.append(network.weight.item())
        return network.weight.sum() + 0 * s.sum()

    data = Samples(torch.zeros(3, 1).double(), torch.zeros(3, dtype=torch.int64))
    recipe = Recipe(epochs=2, batch_size=1, learning_rate=0.1, weight_decay=0.0)
    Trainer({"one": Learner(network, loss)}, data, recipe, 0).fit(tmp_path / "c", progress=False)
    places.append(network.weight.item())
    expected = [0.1 * 0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert -np.diff(places) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_shared_batches_give_each_method_what_it_gets_alone(
    setting, plain, splits, teacher, tmp_path
):
    together, history, _ = plain
    alone, own_history, _ = train([setting], splits, teacher, tmp_path / "alone")
    assert_same(alone[setting.name].state_dict(), together[setting.name].state_dict())
    assert [line[setting.name] for line in own_history] == [line[setting.name] for line in history]
    others = [network for name, network in together.items() if name != setting.name]
    weight = together[setting.name].classifier.weight
    assert all(not torch.equal(weight, other.classifier.weight) for other in others)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        pytest.param(RECIPE, SETTINGS, id="sgd"),
        pytest.param(ADAMW, SETTINGS[2:3], id="adamw"),
    ],
)
def test_training_is_a_plain_loop(recipe, settings, splits, exact_teacher, tmp_path):
    learnt_by, history, _ = train(settings, splits, exact_teacher, tmp_path / "c", recipe)
    for setting in settings:
        student, expected = plain_loop(setting, exact_teacher, recipe, splits[0])
        learnt = learnt_by[setting.name].state_dict()
        torch.testing.assert_close(learnt, student.state_dict(), rtol=1e-8, atol=1e-10)
        means = [line[setting.name]["train_loss"] for line in history]
        assert means == pytest.approx(expected, rel=1e-5)


def plain_loop(setting, teacher, recipe, data):
    student = build("resnet8", 3).double()
    optimizer = torch.optim.AdamW(student.parameters(), weight_decay=recipe.weight_decay)
    if recipe is RECIPE:
        optimizer = torch.optim.SGD(
            student.parameters(), lr=1.0, momentum=0.9, weight_decay=5e-4, nesterov=True
        )
    step, total, seen = 0, 2 * 3, []
    for epoch in range(2):
        for place, rows in enumerate(batches(3, epoch, 48, 16)):
            rate = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * step / total))
            optimizer.param_groups[0]["lr"] = rate
            images = normalise(torch.from_numpy(data.inputs.numpy()[rows])).double()
            images = crop_and_flip(images, draw_views(3, epoch, place, 16))
            labels = data.labels[rows]
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
    return student, [np.mean(seen[:3]), np.mean(seen[3:])]


class Interrupted(Exception):
    """Stands for Ctrl-C, which would stop pytest if something went wrong."""


def interrupt_in_the_second_epoch(students):
    """After that epoch's steps, before its checkpoint."""
    measured = []

    def after_epoch(name):
        measured.append(name)
        if len(measured) == students + 1:
            raise Interrupted
        return {}

    return after_epoch


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 3, 4, 6])
def test_a_stopped_training_is_saved_and_resumes_to_the_same_bits(
    steps, plain, splits, teacher, tmp_path
):
    """In the midst of an epoch, at the end of one, or of all."""
    stop = StopAfter(steps)
    with pytest.raises(OutOfTime):
        train(SETTINGS, splits, teacher, tmp_path / "broken", stop=stop)
    saved = torch.load(tmp_path / "broken", weights_only=True)
    assert 3 * len(saved["history"]) + saved["done"] == steps
    resumed, history, _ = train(SETTINGS, splits, teacher, tmp_path / "broken")
    assert_same(states(resumed), states(plain[0]))
    assert history == plain[1]


class StopAfter(Stop):
    """Asks for a stop after so many steps, each of which looks whether there is one."""

    def __init__(self, steps):
        self.left = steps

    @property
    def requested(self):
        self.left -= 1
        return self.left <= 0

    def check(self):
        if self.left <= 0:
            raise OutOfTime


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_last_checkpoint(
    plain, splits, teacher, tmp_path, monkeypatch
):
    interrupt = interrupt_in_the_second_epoch(len(SETTINGS))
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    with pytest.raises(Interrupted):
        train(SETTINGS, splits, teacher, tmp_path / "broken", after_epoch=interrupt)
    assert len(torch.load(tmp_path / "broken", weights_only=True)["history"]) == 1
    resumed, history, _ = train(SETTINGS, splits, teacher, tmp_path / "broken")
    assert_same(states(resumed), states(plain[0]))
    assert history == plain[1]


def train_smooth(recipe, checkpoint, **options):
    """Without kinks, which blow up the rounding of a learning rate in a float32 tensor."""
    generator = torch.Generator().manual_seed(0)
    inputs, teacher_logits = torch.randn(2, 48, 10, dtype=torch.float64, generator=generator)
    data = Samples(inputs, torch.arange(48) % 10)
    learners = {}
    for setting in (Setting("ce", None), Setting("dkd", 4.0)):
        torch.manual_seed(1)
        layers = nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 10)
        learners[setting.name] = Learner(nn.Sequential(*layers).double(), make_loss(setting))
    trainer = Trainer(learners, data, recipe, 3, teacher_logits)
    history, _ = trainer.fit(checkpoint, progress=False, **options)
    return {name: learner.network for name, learner in learners.items()}, history


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """All but the CUDA graph itself: fused optimizers whose learning rate is a tensor."""
    monkeypatch.setattr(training, "can_capture", lambda device: True)
    monkeypatch.setattr(training, "GraphedStep", lambda step, required: step)


@pytest.mark.parametrize("recipe", [RECIPE, ADAMW], ids=["sgd", "adamw"])
def test_what_a_gpu_does_is_what_a_cpu_does(recipe, tmp_path, request):
    plain, history = train_smooth(recipe, tmp_path / "plain")
    request.getfixturevalue("as_on_a_gpu")
    other, its_history = train_smooth(recipe, tmp_path / "other")
    torch.testing.assert_close(states(other), states(plain), rtol=1e-5, atol=1e-6)
    for name in plain:
        found, expected = ([line[name]["train_loss"] for line in h] for h in (its_history, history))
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("begun_on", ["cpu", "gpu"])
@pytest.mark.parametrize("recipe", [RECIPE, ADAMW], ids=["sgd", "adamw"])
def test_a_run_goes_on_on_another_device(recipe, begun_on, tmp_path, monkeypatch):
    plain, _ = train_smooth(recipe, tmp_path / "plain")
    interrupt = interrupt_in_the_second_epoch(2)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    monkeypatch.setattr(training, "GraphedStep", lambda step, required: step)
    monkeypatch.setattr(training, "can_capture", lambda device: begun_on == "gpu")
    with pytest.raises(Interrupted):
        train_smooth(recipe, tmp_path / "moved", after_epoch=interrupt)
    monkeypatch.setattr(training, "can_capture", lambda device: begun_on != "gpu")
    resumed, _ = train_smooth(recipe, tmp_path / "moved")
    torch.testing.assert_close(states(resumed), states(plain), rtol=1e-5, atol=1e-6)


def test_a_finished_checkpoint_is_only_loaded(splits, teacher, tmp_path):
    ce = [Setting("ce", None)]
    first, history, seconds = train(ce, splits, teacher, tmp_path / "checkpoint")
    again, *rest = train(ce, splits, teacher, tmp_path / "checkpoint")
    assert rest == [history, seconds]
    assert [line["ce"]["epoch"] for line in history] == [1, 2]
    assert_same(states(again), states(first))


@pytest.mark.parametrize("graphs", ["auto", "require", "off"])
def test_whether_steps_are_captured(graphs, splits, monkeypatch):
    monkeypatch.setattr(training, "can_capture", lambda device: True)
    learners = {"ce": Learner(build("resnet8", 0), make_loss(SETTINGS[0]))}
    trainer = Trainer(learners, splits[0], RECIPE, 0, graphs=graphs)
    if graphs == "off":
        assert trainer.on_batch == trainer.update
    else:
        assert trainer.on_batch.required == (graphs == "require")


def test_predictions_do_not_depend_on_how_images_are_grouped(splits, monkeypatch):
    network = build("resnet8", 0)
    whole = network.eval()(normalise(splits[0].inputs))
    monkeypatch.setattr(training, "CHUNK", 7)
    torch.testing.assert_close(predict(network, splits[0].inputs), whole, rtol=1e-4, atol=1e-5)


def test_a_stack_predicts_as_its_networks_do(monkeypatch):
    networks = [build("cnn", seed) for seed in range(3)]
    inputs = torch.randn(20, 40, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(training, "CHUNK", 7)
    expected = torch.stack([network.eval()(inputs) for network in networks])
    torch.testing.assert_close(predict(Stack(networks), inputs), expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_gives_float32_logits_that_are_close(splits):
    network = build("resnet8", 0)
    exact = predict(network, splits[0].inputs)
    with torch.no_grad():
        rough = logits_of(network, normalise(splits[0].inputs), "bfloat16")
    assert rough.dtype == torch.float32
    error = (rough - exact).abs().max() / exact.abs().max()
    assert 0 < error < 0.05  # 8 bits of mantissa, a dozen layers
    assert (rough.bfloat16() != rough).double().mean() > 0.9, "logits are not rounded, so no ties"
