import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pld_edu import data
from pld_edu.distill import images as distill_images
from pld_edu.distill import run as distill
from pld_edu.distill import train as together
from pld_edu.distill.models import build
from tests.support.small_images import SMALL_IMAGES, slice_of_cifar100


@pytest.fixture(scope="module", autouse=True)
def images():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.DATASETS, "cifar100", slice_of_cifar100)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return distill.run(SMALL_IMAGES, tmp_path_factory.mktemp("out"), progress=False, device="cpu")


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def logits_in(folder, name):
    with np.load(folder / f"logits_{name}.npz") as file:
        return file["logits"], file["seed"]


def test_one_row_for_each_setting_and_seed(finished):
    pairs = [("ce", None), *itertools.product(("dist", "dkd", "pld"), (1.0, 4.0))]
    found = [(row["method"], row["temperature"], row["seed"]) for row in finished.rows]
    assert found == [(*pair, seed) for pair in pairs for seed in (0, 1)]
    for row in finished.rows:
        assert " ".join(row) == (
            "dataset teacher student method temperature seed epochs train_images top1 top5 "
            "held_out_top1 seconds device versions commit"
        )
        assert row["train_images"] == 48
        assert (row["teacher"], row["student"], row["epochs"]) == ("resnet14", "resnet8", 2)
        assert row["device"] == "cpu"


def test_files_of_a_finished_run(finished):
    names = ["ce", *(f"{m}-t{t}" for m in ("dist", "dkd", "pld") for t in (1, 4)), "teacher"]
    assert sorted(path.name for path in finished.folder.iterdir()) == sorted(
        ["curves.json", "experiment.json", "labels.npy", "rows.json", "teacher.json"]
        + [f"logits_{name}.npz" for name in names]
    )
    shared = finished.folder.parent / "resnet14"
    assert sorted(path.name for path in shared.iterdir()) == ["experiment.json", "teacher.pt"]


def test_recorded_accuracies_are_those_of_the_stored_logits(finished):
    labels = np.load(finished.folder / "labels.npy")
    assert labels.tolist() == slice_of_cifar100(48, 20, 40).test.labels.tolist()
    for row in finished.rows:
        if row["seed"] == 0:
            name = row["method"] + (f"-t{row['temperature']:g}" if row["temperature"] else "")
            logits, seed = logits_in(finished.folder, name)
            order = np.argsort(-logits, axis=-1, kind="stable")
            assert seed == 0
            assert row["top1"] == 100 * np.mean(order[:, 0] == labels)
            assert row["top5"] == 100 * np.mean((order[:, :5] == labels[:, None]).any(axis=-1))


def test_learning_curves_have_a_line_for_each_student_and_epoch(finished):
    curves = json.loads((finished.folder / "curves.json").read_text())
    assert len(curves) == 7 * 2 * 2
    for row in finished.rows:
        own = [
            line
            for line in curves
            if all(line[key] == row[key] for key in ("method", "temperature", "seed"))
        ]
        assert [line["epoch"] for line in own] == [1, 2]
        assert all(line["train_loss"] > 0 for line in own)
        # All 20 held-out images are watched; the row's accuracy is that of rounded logits.
        assert abs(own[-1]["held_out_top1"] - row["held_out_top1"]) <= 100 / 20


def test_the_teacher_is_described_as_its_stored_weights_are(finished):
    teacher = finished.teacher
    assert (teacher["name"], len(teacher["epochs"])) == ("resnet14", 2)
    sizes = [
        sum(p.numel() for p in build(name, 0).parameters()) for name in ("resnet14", "resnet8")
    ]
    assert [teacher["parameters"], teacher["student_parameters"]] == sizes
    assert [line["temperature"] for line in teacher["temperatures"]] == [1.0, 4.0]
    assert set(teacher["latency"]) == {"teacher", "student"}
    assert 0 < teacher["speed"]["loss_share"] < 1

    network = build("resnet14", 0).eval()
    path = finished.folder.parent / "resnet14" / "teacher.pt"
    weights = torch.load(path, weights_only=True)["weights"]
    assert {value.dtype for value in weights.values() if value.ndim > 1} == {torch.float16}
    network.load_state_dict(weights)
    test = slice_of_cifar100(48, 20, 40).test
    logits = distill_images.predict(network, torch.from_numpy(test.inputs))
    stored, _ = logits_in(finished.folder, "teacher")
    assert np.abs(stored - logits.numpy()).max() <= 1 / 32 + 1e-3
    order = np.argsort(-stored, axis=-1, kind="stable")
    assert teacher["top1"] == 100 * np.mean(order[:, 0] == test.labels)


class Interrupted(Exception):
    """Stands for Ctrl-C, which would stop pytest if something went wrong."""


def test_an_interrupted_run_resumes_to_the_same_rows(finished, tmp_path, monkeypatch):
    original = together.Step.update

    def interrupt_at(step):
        count = itertools.count(1)

        def counted(self, *batch):
            if next(count) == step:
                raise Interrupted
            return original(self, *batch)

        return counted

    # 3 steps an epoch, 2 epochs: in the second of the teacher, of seed 0, and of seed 1.
    for step in (3 + 2, 3 + 3 + 2, 3 + 3 + 2):
        with monkeypatch.context() as patch:
            patch.setattr(together.Step, "update", interrupt_at(step))
            with pytest.raises(Interrupted):
                distill.run(SMALL_IMAGES, tmp_path, progress=False, device="cpu")
    folder = tmp_path / "resnet14-resnet8"
    assert (folder / "seed-0.json").exists()
    assert (folder / "seed-1.checkpoint").exists()
    resumed = distill.run(SMALL_IMAGES, tmp_path, progress=False, device="cpu")
    assert without_seconds(resumed.rows) == without_seconds(finished.rows)
    for path in finished.folder.glob("logits_*"):
        found, expected = (logits_in(run.folder, path.stem[7:])[0] for run in (resumed, finished))
        np.testing.assert_array_equal(found, expected)
    curves = [(run.folder / "curves.json").read_text() for run in (resumed, finished)]
    assert curves[0] == curves[1]
    assert not list(tmp_path.rglob("*.checkpoint"))


RECIPE_1 = replace(SMALL_IMAGES.student_recipe, epochs=1)


def test_a_second_student_learns_from_the_same_teacher(finished, monkeypatch):
    other = replace(
        SMALL_IMAGES, student="wrn_16_1", methods=("ce",), seeds=1, student_recipe=RECIPE_1
    )
    trained = []
    original = distill_images.train_together

    def train_together(learners, *arguments, **options):
        trained.extend(learners)
        return original(learners, *arguments, **options)

    monkeypatch.setattr(distill_images, "train_together", train_together)
    run = distill.run(other, finished.folder.parent, progress=False, device="cpu")
    assert trained == ["ce"]
    assert run.teacher["top1"] == finished.teacher["top1"]
    assert run.teacher["epochs"] == finished.teacher["epochs"]


def test_a_teacher_trained_otherwise_is_not_taken(finished):
    other = replace(SMALL_IMAGES, student="wrn_16_1", teacher_recipe=RECIPE_1)
    with pytest.raises(FileExistsError, match=r"teacher_recipe.epochs is 2 there, 1 here"):
        distill.run(other, finished.folder.parent, progress=False, device="cpu")


def test_a_teacher_that_diverges_is_named(tmp_path):
    wild = replace(
        SMALL_IMAGES, teacher_recipe=replace(SMALL_IMAGES.teacher_recipe, learning_rate=1e30)
    )
    message = r"the loss of the teacher became (nan|inf) in epoch 1, step \d; a lower learning"
    with pytest.raises(FloatingPointError, match=message):
        distill.run(wild, tmp_path, progress=False, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said_plainly():
    with pytest.raises(ValueError, match="PyTorch sees no GPU here; the device cpu always works"):
        distill.chosen("cuda")
