import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pld_edu import losses
from pld_edu.distill import run as distill
from pld_edu.distill import train as training
from pld_edu.distill.cuda_graph import CaptureError
from pld_edu.distill.experiment import Screen
from pld_edu.distill.networks import build
from pld_edu.distill.run import Distillation
from pld_edu.distill.stopping import OutOfTime
from pld_edu.distill.train import Trainer, batches, predict
from pld_edu.results import tables
from pld_edu.results.methods import Setting
from pld_edu.results.records import read_logits
from tests.distill.conftest import EXPERIMENTS
from tests.support.small_images import SMALL_IMAGES
from tests.support.small_run import SMALL

pytestmark = pytest.mark.slow  # Almost every test here trains.


def without_seconds(rows):
    return [{k: v for k, v in row.items() if k not in ("seconds", "ms_per_step")} for row in rows]


both = pytest.mark.parametrize("name", EXPERIMENTS)


class Interrupted(Exception):
    """Stands for Ctrl-C, which would stop pytest if something went wrong."""


def interrupt_at(step, monkeypatch):
    """Stop the run in its `step`-th step from here."""
    original, count = Trainer.update, itertools.count(1)

    def counted(self, *batch):
        if next(count) == step:
            raise Interrupted
        return original(self, *batch)

    monkeypatch.setattr(Trainer, "update", counted)


# In the second step of the second epoch of the teacher, then of each job, counted from where the
# one before was interrupted: with 4 steps in an epoch, or 3. MNIST-1D has one job.
@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("mnist1d", (4 + 2, 3 + 4 + 2)),
        ("images", (3 + 2, 2 + 3 + 2, 2 + 3 + 2)),
    ],
)
def test_an_interrupted_run_resumes_to_the_same_rows(name, steps, runs, tmp_path, monkeypatch):
    experiment, finished = EXPERIMENTS[name], runs[name]
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    for step in steps:
        with monkeypatch.context() as patch:
            interrupt_at(step, patch)
            with pytest.raises(Interrupted):
                distill.run(experiment, tmp_path, progress=False, device="cpu")
    folder = distill.run_folder(experiment, tmp_path)
    assert not distill.is_finished(experiment, folder)
    if name == "images":  # what is finished can be read
        first = [row for row in finished.rows if row["seed"] == 0]
        assert without_seconds(distill.load(folder).rows) == without_seconds(first)
    last = "1" if name == "images" else "0-1"
    checkpoint = torch.load(folder / f"seed-{last}.checkpoint", weights_only=True)
    assert (len(checkpoint["history"]), checkpoint["done"]) == (1, 1)
    resumed = distill.run(experiment, tmp_path, progress=False, device="cpu")
    assert without_seconds(resumed.rows) == without_seconds(finished.rows)
    assert resumed.teacher == finished.teacher
    for path in finished.folder.glob("logits_*"):
        found, expected = (read_logits(run.folder, path.stem[7:]) for run in (resumed, finished))
        np.testing.assert_array_equal(found, expected)
    names = [sorted(path.name for path in run.folder.iterdir()) for run in (resumed, finished)]
    assert names[0] == names[1]
    if name == "images":
        curves = [(run.folder / "curves.json").read_text() for run in (resumed, finished)]
        assert curves[0] == curves[1]


@both
def test_a_finished_run_is_read_not_trained_again(name, runs, monkeypatch):
    interrupt_at(1, monkeypatch)
    out = runs[name].folder.parent
    assert distill.run(EXPERIMENTS[name], out, progress=False, device="cpu") == runs[name]


@both
def test_another_experiment_does_not_overwrite_a_run(name, runs):
    other = replace(EXPERIMENTS[name], temperatures=(4.0,))
    with pytest.raises(FileExistsError, match=r"temperatures is \[1.0, 4.0\] there, \[4.0\] here"):
        distill.run(other, runs[name].folder.parent, progress=False, device="cpu")


@both
def test_seeds_are_added_to_a_finished_run_and_fewer_are_read(name, runs, tmp_path, monkeypatch):
    """Begun with one seed, then two: the rows of both at once; only the second is trained."""
    one = replace(EXPERIMENTS[name], seeds=1)
    first = distill.run(one, tmp_path, progress=False, device="cpu")
    trained, original = [], Trainer.fit

    def fit(self, *arguments, **options):
        trained.extend(self.names)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "fit", fit)
    both = distill.run(EXPERIMENTS[name], tmp_path, progress=False, device="cpu")
    assert {student[-1] for student in trained} == {"1"}
    assert without_seconds(both.rows) == without_seconds(runs[name].rows)
    assert both.teacher == runs[name].teacher
    assert json.loads((both.folder / "experiment.json").read_text())["seeds"] == 2
    names = [sorted(path.name for path in run.folder.iterdir()) for run in (both, runs[name])]
    assert names[0] == names[1]
    assert distill.run(one, tmp_path, progress=False, device="cpu") == first


def test_each_student_of_a_stack_is_trained_as_if_it_were_alone(tmp_path):
    distillation = Distillation(SMALL, tmp_path, progress=False)
    train = distillation.train
    generator = torch.Generator().manual_seed(0)
    teacher_logits = 3 * torch.randn(len(train.labels), 10, generator=generator)
    owners = {
        str(number): (s, k)
        for number, (s, k) in enumerate(itertools.product(SMALL.settings, range(SMALL.seeds)))
    }
    learners = distillation.make_learners(owners)
    seeds = range(SMALL.seeds)
    trainer = Trainer(learners, train, SMALL.student_recipe, seeds, teacher_logits)
    trainer.fit(tmp_path / "checkpoint", progress=False)
    together = predict(learners["students"].network, train.inputs)

    def kd_at_4(s, t, y):
        divergence = F.kl_div((s / 4).log_softmax(-1), (t / 4).softmax(-1), reduction="batchmean")
        return 0.1 * F.cross_entropy(s, y) + 0.9 * 16 * divergence

    alone = {
        Setting("ce", None): lambda s, t, y: F.cross_entropy(s, y),
        Setting("kd", 4.0): kd_at_4,
        Setting("dist", 4.0): losses.DISTLoss(temperature=4.0),
        Setting("pld", 1.0): losses.PLDLoss(temperature=1.0),
    }
    recipe = SMALL.student_recipe
    total = recipe.epochs * len(train.labels) // recipe.batch_size
    for setting, loss in alone.items():
        seed, step = 1, 0
        student = build("mlp32", seed)
        optimizer = torch.optim.AdamW(student.parameters(), weight_decay=recipe.weight_decay)
        for epoch in range(recipe.epochs):
            for rows in batches(seed, epoch, len(train.labels), recipe.batch_size):
                falling = 0.5 * (1 + math.cos(math.pi * step / total))
                optimizer.param_groups[0]["lr"] = recipe.learning_rate * falling
                optimizer.zero_grad()
                s, t, y = student(train.inputs[rows]), teacher_logits[rows], train.labels[rows]
                loss(s, t, y).backward()
                optimizer.step()
                step += 1
        place = list(owners.values()).index((setting, seed))
        expected = predict(student, train.inputs)
        torch.testing.assert_close(together[place], expected, rtol=1e-4, atol=1e-4)


class Broken(torch.nn.Module):
    """Cross-entropy, and NaN from the fifth step on."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, student_logits, teacher_logits, labels):
        self.calls += 1
        value = F.cross_entropy(student_logits, labels)
        return value * (math.nan if self.calls >= 5 else 1.0)


@both
def test_a_student_that_diverges_is_recorded_and_the_others_are_as_ever(
    name, runs, tmp_path, monkeypatch
):
    monkeypatch.setattr(losses, "PLDLoss", lambda temperature: Broken())
    run = distill.run(EXPERIMENTS[name], tmp_path, progress=False, device="cpu")
    lost = [row for row in run.rows if row["method"] == "pld"]
    steps = 3 if name == "images" else 4
    assert len(lost) == 4
    for row in lost:
        assert row["diverged"] == {"epoch": 2, "step": 5 - steps}
        assert row["top1"] is row["top5"] is row["held_out_top1"] is None
    others = [[row for row in r.rows if row["method"] != "pld"] for r in (run, runs[name])]
    assert without_seconds(others[0]) == without_seconds(others[1])
    assert not list(run.folder.glob("logits_pld*"))
    with np.load(run.folder / "predictions.npz") as predictions:
        assert "ce" in predictions
        assert "pld-t4" not in predictions
    text = " ".join(tables.report(run.rows, run.teacher).split())
    assert "Diverged, so left out" in text
    assert "PLD, T = 4, seed 1 (epoch 2, step" in text
    assert "nan" not in text
    assert "NaN" not in "".join(path.read_text() for path in run.folder.glob("*.json"))


def test_dkd_is_trained_with_the_beta_of_the_pair(tmp_path):
    pair = replace(SMALL_IMAGES, teacher="resnet56", student="resnet20")
    learners = Distillation(pair, tmp_path).make_learners({"one": (Setting("dkd", 4.0), 0)})
    assert learners["one"].loss.beta == 2.0


def test_a_rate_at_which_a_trial_diverges_is_not_picked(tmp_path):
    screen = Screen(learning_rates=(1e30, 0.02), epochs=1)
    experiment = replace(SMALL_IMAGES, methods=("ce", "pld"), screen=screen)
    distillation = Distillation(experiment, tmp_path, progress=False)
    distillation.pick_rates(build("resnet14", 0).eval())
    assert set(distillation.rates.values()) == {0.02}
    lines = json.loads((tmp_path / "screen.json").read_text())
    assert {line["learning_rate"] for line in lines if line["held_out_top1"] is None} == {1e30}


def test_a_run_stops_when_its_minutes_are_over_and_goes_on(runs, tmp_path):
    for _ in range(4):
        with pytest.raises(OutOfTime):
            distill.run(SMALL_IMAGES, tmp_path, progress=False, device="cpu", minutes=0)
    checkpoint = tmp_path / "resnet14" / "teacher.checkpoint"
    assert torch.load(checkpoint, weights_only=True)["done"] == 1, "a step each time"
    resumed = distill.run(SMALL_IMAGES, tmp_path, progress=False, device="cpu", minutes=60)
    assert without_seconds(resumed.rows) == without_seconds(runs["images"].rows)


@both
def test_a_teacher_that_diverges_is_named(name, tmp_path):
    wild = replace(EXPERIMENTS[name].teacher_recipe, learning_rate=1e30)
    experiment = replace(EXPERIMENTS[name], teacher_recipe=wild)
    message = r"the loss of the teacher is no longer finite in epoch 1, step \d; a lower learning"
    with pytest.raises(FloatingPointError, match=message):
        distill.run(experiment, tmp_path, progress=False, device="cpu")


def test_a_run_leaves_generators_and_threads_as_they_were(tmp_path):
    tiny = replace(SMALL, methods=("ce",))
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = torch.rand(2).tolist(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    threads = torch.get_num_threads()
    distill.run(tiny, tmp_path, progress=False)
    assert (torch.rand(2).tolist(), np.random.rand()) == expected  # noqa: NPY002
    assert torch.get_num_threads() == threads


RECIPE_1 = replace(SMALL_IMAGES.student_recipe, epochs=1)


def test_a_second_student_learns_from_the_same_teacher(runs, monkeypatch):
    finished = runs["images"]
    other = replace(
        SMALL_IMAGES, student="wrn_16_1", methods=("ce",), seeds=1, student_recipe=RECIPE_1
    )
    trained, original = [], Trainer.fit

    def fit(self, *arguments, **options):
        trained.extend(self.names)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "fit", fit)
    run = distill.run(other, finished.folder.parent, progress=False, device="cpu")
    assert trained == ["ce with seed 0"]
    assert run.teacher["top1"] == finished.teacher["top1"]
    assert run.teacher["epochs"] == finished.teacher["epochs"]


def test_a_teacher_is_noted_with_what_it_depends_on(runs):
    note = json.loads((runs["images"].folder.parent / "resnet14" / "experiment.json").read_text())
    recorded = Path(__file__).parents[2] / "notebooks/results/cifar100-sgd/resnet20/experiment.json"
    assert list(note) == list(json.loads(recorded.read_text()))


def test_a_teacher_trained_otherwise_is_not_taken(runs):
    other = replace(SMALL_IMAGES, student="wrn_16_1", teacher_recipe=RECIPE_1)
    with pytest.raises(FileExistsError, match=r"teacher_recipe.epochs is 2 there, 1 here"):
        distill.run(other, runs["images"].folder.parent, progress=False, device="cpu")


def test_a_teacher_trained_already_is_read(tmp_path):
    distillation = Distillation(SMALL, tmp_path, progress=False)
    first, history = distillation.train_teacher()
    again, its_history = distillation.train_teacher()
    assert its_history == history
    inputs = distillation.train.inputs
    assert torch.equal(predict(again, inputs), predict(first, inputs))
    assert [path.name for path in tmp_path.iterdir()] == ["teacher.pt"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said_plainly():
    with pytest.raises(ValueError, match="PyTorch sees no GPU here; the device cpu always works"):
        distill.resolve_device("cuda")


def test_required_graphs_need_a_gpu(tmp_path):
    with pytest.raises(CaptureError, match="there are no CUDA graphs on the device cpu"):
        distill.run(SMALL_IMAGES, tmp_path, device="cpu", graphs="require")


def test_each_process_has_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert distill.resolve_device(None) == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distill.resolve_device(None) == distill.resolve_device("cuda") == torch.device("cuda", 1)
    assert distill.resolve_device("cpu") == torch.device("cpu")
