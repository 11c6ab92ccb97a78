import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pld_edu import losses
from pld_edu.distill import run as distill
from pld_edu.distill import training
from pld_edu.distill.models import build
from pld_edu.distill.training import batches
from tests.support.small_run import SMALL


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return distill.run(SMALL, tmp_path_factory.mktemp("out"), progress=False)


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_one_row_for_each_setting_and_seed(finished):
    found = [(row["method"], row["temperature"], row["seed"]) for row in finished.rows]
    pairs = [("ce", None), *itertools.product(("kd", "dist", "pld"), (1.0, 4.0))]
    assert found == [(*pair, seed) for pair in pairs for seed in (0, 1)]
    for row in finished.rows:
        assert " ".join(row) == (
            "dataset teacher student method temperature seed epochs top1 top5 held_out_top1 "
            "seconds device versions commit"
        )
        assert (row["dataset"], row["teacher"], row["student"]) == ("mnist1d", "cnn", "mlp32")
        assert row["epochs"] == 3
        assert row["seconds"] > 0


def test_files_of_a_finished_run(finished):
    assert finished.folder.name == "cnn-mlp32"
    names = ["ce", *(f"{m}-t{t}" for m in ("dist", "kd", "pld") for t in (1, 4)), "teacher"]
    assert sorted(path.name for path in finished.folder.iterdir()) == sorted(
        ["experiment.json", "labels.npy", "rows.json", "teacher.json"]
        + [f"logits_{name}.npz" for name in names]
    )


def test_recorded_accuracies_are_those_of_the_stored_logits(finished):
    labels = np.load(finished.folder / "labels.npy")
    for row in finished.rows:
        if row["seed"] != 0:
            continue
        name = row["method"] + (f"-t{row['temperature']:g}" if row["temperature"] else "")
        with np.load(finished.folder / f"logits_{name}.npz") as file:
            logits, seed = file["logits"], file["seed"]
        assert logits.dtype == np.float16
        assert seed == 0
        order = np.argsort(-logits, axis=-1, kind="stable")
        assert row["top1"] == 100 * np.mean(order[:, 0] == labels)
        assert row["top5"] == 100 * np.mean((order[:, :5] == labels[:, None]).any(axis=-1))


def test_the_teacher_is_followed_epoch_by_epoch(finished):
    teacher = finished.teacher
    assert [line["epoch"] for line in teacher["epochs"]] == [1, 2]
    assert [line["temperature"] for line in teacher["temperatures"]] == [1.0, 4.0]
    last, at_1 = teacher["epochs"][-1], teacher["temperatures"][0]
    for key in ("mean_label_weight", "share_above_99", "cosine_to_ce"):
        assert last[key] == at_1[key]
    with np.load(finished.folder / "logits_teacher.npz") as file:
        order = np.argsort(-file["logits"], axis=-1, kind="stable")
    labels = np.load(finished.folder / "labels.npy")
    assert teacher["top1"] == 100 * np.mean(order[:, 0] == labels)


class Interrupted(Exception):
    """Stands for Ctrl-C, which would stop pytest if something went wrong."""


def interrupt_at(step, monkeypatch):
    """Stop the run in its `step`-th optimizer step from here."""
    original = torch.optim.AdamW.step
    count = itertools.count(1)

    def counted(self, *arguments):
        if next(count) == step:
            raise Interrupted
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)


def test_an_interrupted_run_resumes_to_the_same_rows(finished, tmp_path, monkeypatch):
    # 4 steps an epoch: halfway through the second epoch of the teacher, then of the students.
    for step in (4 + 2, 4 + 4 + 2):
        with monkeypatch.context() as patch:
            patch.setattr(training, "CHECKPOINT_EVERY", 1)
            interrupt_at(step, patch)
            with pytest.raises(Interrupted):
                distill.run(SMALL, tmp_path, progress=False)
    assert not distill.is_finished(distill.run_folder(SMALL, tmp_path))
    saved = torch.load(tmp_path / "cnn-mlp32" / "students.checkpoint", weights_only=True)
    assert saved["epochs"] == 1
    resumed = distill.run(SMALL, tmp_path, progress=False)
    assert without_seconds(resumed.rows) == without_seconds(finished.rows)
    assert resumed.teacher == finished.teacher
    assert not list(tmp_path.rglob("*.checkpoint"))


def test_a_finished_run_is_read_not_trained_again(finished, monkeypatch):
    interrupt_at(1, monkeypatch)
    again = distill.run(SMALL, finished.folder.parent, progress=False)
    assert again == finished


def test_another_experiment_does_not_overwrite_a_run(finished):
    other = replace(SMALL, seeds=3)
    with pytest.raises(FileExistsError, match=r"seeds is 2 there, 3 here"):
        distill.run(other, finished.folder.parent, progress=False)


def test_each_student_is_trained_as_if_it_were_alone(tmp_path):
    train, *_ = distill.load_splits(SMALL)
    generator = torch.Generator().manual_seed(0)
    teacher_logits = 3 * torch.randn(len(train.labels), 10, generator=generator)
    students, _ = distill.train_students(
        SMALL, train, teacher_logits, tmp_path / "checkpoint", progress=False
    )
    together = distill.predict(students, train.inputs)

    def kd_at_4(s, t, y):
        soft = F.kl_div((s / 4).log_softmax(-1), (t / 4).softmax(-1), reduction="batchmean")
        return 0.1 * F.cross_entropy(s, y) + 0.9 * 16 * soft

    alone = {
        ("ce", None): lambda s, t, y: F.cross_entropy(s, y),
        ("kd", 4.0): kd_at_4,
        ("dist", 4.0): losses.DISTLoss(temperature=4.0),
        ("pld", 1.0): losses.PLDLoss(temperature=1.0),
    }
    recipe = SMALL.student_recipe
    total = recipe.epochs * len(train.labels) // recipe.batch_size
    for setting, loss in alone.items():
        seed = 1
        student = build("mlp32", seed)
        optimizer = torch.optim.AdamW(student.parameters(), weight_decay=recipe.weight_decay)
        step = 0
        for epoch in range(recipe.epochs):
            for rows in batches(seed, epoch, len(train.labels), recipe.batch_size):
                falling = 0.5 * (1 + math.cos(math.pi * step / total))
                optimizer.param_groups[0]["lr"] = recipe.learning_rate * falling
                optimizer.zero_grad()
                loss(
                    student(train.inputs[rows]), teacher_logits[rows], train.labels[rows]
                ).backward()
                optimizer.step()
                step += 1
        place = SMALL.settings.index(setting) * SMALL.seeds + seed
        expected = distill.predict(student, train.inputs)
        torch.testing.assert_close(together[place], expected, rtol=1e-4, atol=1e-4)


def test_a_loss_that_is_not_finite_is_named(tmp_path, monkeypatch):
    train, *_ = distill.load_splits(SMALL)

    class Broken(torch.nn.Module):
        def forward(self, student_logits, teacher_logits, labels):
            return student_logits.mean() * torch.where(labels[0] >= 0, torch.nan, 1.0)

    monkeypatch.setattr(losses, "PLDLoss", lambda temperature: Broken())
    with pytest.raises(
        FloatingPointError,
        match=r"the loss of pld-t1 with seed 0 became nan in epoch 1, step 1; a lower learning",
    ):
        distill.train_students(
            SMALL, train, torch.zeros(200, 10), tmp_path / "checkpoint", progress=False
        )


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


def test_a_teacher_that_diverges_is_named(tmp_path):
    wild = replace(SMALL, teacher_recipe=replace(SMALL.teacher_recipe, learning_rate=1e30))
    train, held_out, _ = distill.load_splits(wild)
    message = r"a logit of the teacher is no longer finite in epoch 1, step \d+; a lower learning"
    with pytest.raises(FloatingPointError, match=message):
        distill.train_teacher(wild, train, held_out, tmp_path / "checkpoint", progress=False)
