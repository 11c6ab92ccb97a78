import itertools
import json

import numpy as np
import pytest
import torch

from pld_edu import data
from pld_edu.distill import record
from pld_edu.distill.augment import crop_and_flip, draw_views, normalise
from pld_edu.distill.networks import build
from pld_edu.distill.run import Distillation
from pld_edu.distill.train import batches, predict
from pld_edu.results.methods import Setting
from tests.distill.conftest import EXPERIMENTS, METHODS
from tests.support.small_images import slice_of_cifar100
from tests.support.small_run import SMALL

pytestmark = pytest.mark.slow

both = pytest.mark.parametrize("name", EXPERIMENTS)


def logits_in(folder, name):
    with np.load(folder / f"logits_{name}.npz") as file:
        assert file["logits"].dtype == np.float16
        return file["logits"], file["seed"]


@both
def test_one_row_for_each_setting_and_seed(name, runs):
    rows, experiment = runs[name].rows, EXPERIMENTS[name]
    pairs = [("ce", None), *itertools.product(METHODS[name], (1.0, 4.0))]
    found = [(row["method"], row["temperature"], row["seed"]) for row in rows]
    assert found == [(*pair, seed) for pair in pairs for seed in (0, 1)]
    for row in rows:
        assert " ".join(row) == (
            "dataset teacher student method temperature seed epochs learning_rate top1 top5 "
            "held_out_top1 seconds ms_per_step device versions commit"
        )
        assert row["dataset"] == experiment.dataset
        assert (row["teacher"], row["student"]) == (experiment.teacher, experiment.student)
        assert row["epochs"] == experiment.student_recipe.epochs
        assert row["device"] == "cpu"
        steps = experiment.student_recipe.epochs * (4 if name == "mnist1d" else 3)
        assert 0 < row["ms_per_step"] * steps < 1000 * row["seconds"]


@both
def test_files_of_a_finished_run(name, runs):
    folder = runs[name].folder
    files = ["experiment.json", "labels.npy", "rows.json", "teacher.json", "logits_ce.npz"]
    files += ["predictions.npz"]
    files += [f"logits_{m}-t{t}.npz" for m in METHODS[name] for t in (1, 4)]
    files += ["logits_teacher.npz", "curves.json" if name == "images" else "teacher.pt"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    others = {path.name for path in folder.parent.iterdir()} - {folder.name}
    assert others == ({"resnet14"} if name == "images" else set())
    for other in others:
        kept = sorted(path.name for path in (folder.parent / other).iterdir())
        assert kept == ["experiment.json", "teacher.pt"]


@both
def test_stored_logits_are_those_of_the_predictions(name, runs):
    labels = np.load(runs[name].folder / "labels.npy")
    experiment = EXPERIMENTS[name]
    sizes = experiment.train, experiment.held_out, experiment.test
    assert labels.tolist() == data.DATASETS[experiment.dataset](*sizes).test.labels.tolist()
    with np.load(runs[name].folder / "predictions.npz") as predictions:
        for setting in experiment.settings:
            logits, seed = logits_in(runs[name].folder, setting.name)
            first, second = np.sort(logits, axis=-1)[:, :-3:-1].T
            assert seed == 0
            apart = first - second > 1 / 16  # where rounding cannot change the first class
            assert apart.sum() >= 5
            np.testing.assert_array_equal(
                logits.argmax(axis=-1)[apart], predictions[setting.name][0][apart]
            )


@both
def test_every_student_leaves_its_predicted_classes(name, runs):
    labels = np.load(runs[name].folder / "labels.npy")
    with np.load(runs[name].folder / "predictions.npz") as predictions:
        for row in runs[name].rows:
            found = predictions[Setting(row["method"], row["temperature"]).name]
            assert (found.dtype, found.shape) == (np.uint8, (2, len(labels)))
            assert row["top1"] == 100 * np.mean(found[row["seed"]] == labels)


@both
def test_the_teacher_is_described_as_it_is_stored(name, runs):
    teacher, experiment = runs[name].teacher, EXPERIMENTS[name]
    assert (teacher["name"], len(teacher["epochs"])) == (experiment.teacher, 2)
    sizes = [
        sum(p.numel() for p in build(network, 0).parameters())
        for network in (experiment.teacher, experiment.student)
    ]
    assert [teacher["parameters"], teacher["student_parameters"]] == sizes
    assert [line["epoch"] for line in teacher["epochs"]] == [1, 2]
    assert [line["temperature"] for line in teacher["temperatures"]] == [1.0, 4.0]
    labels = np.load(runs[name].folder / "labels.npy")
    home = runs[name].folder.parent / "resnet14" if name == "images" else runs[name].folder
    network = build(experiment.teacher, 0)
    network.load_state_dict(torch.load(home / "teacher.pt", weights_only=True)["weights"])
    splits = experiment.train, experiment.held_out, experiment.test
    test = data.DATASETS[experiment.dataset](*splits).test
    order = predict(network, torch.from_numpy(test.inputs)).numpy().argsort(axis=-1)[:, ::-1]
    for k in (1, 5):
        hits = (order[:, :k] == labels[:, None]).any(axis=-1)
        assert teacher[f"top{k}"] == 100 * np.mean(hits)


def test_the_last_epoch_of_a_teacher_has_the_saturation_of_temperature_1(runs):
    last, at_1 = (runs["mnist1d"].teacher[key] for key in ("epochs", "temperatures"))
    for key in ("mean_label_weight", "share_above_99", "cosine_to_ce"):
        assert last[-1][key] == at_1[0][key]


def test_a_teacher_is_described_on_the_views_that_students_see(runs):
    """Image by image, at temperature 4; nothing is measured of its speed."""
    teacher = runs["images"].teacher
    weights = torch.load(runs["images"].folder.parent / "resnet14/teacher.pt", weights_only=True)
    network = build("resnet14", 0).eval()
    network.load_state_dict(weights["weights"])
    images, labels = map(torch.from_numpy, slice_of_cifar100(48, 20, 40).train)
    found = []
    for step, rows in enumerate(batches(0, 0, 48, 16)):
        seen = crop_and_flip(normalise(images[rows]), draw_views(0, 0, step, 16))
        with torch.no_grad():
            probabilities = (network(seen) / 4).softmax(-1)
        found += [own[label].item() for own, label in zip(probabilities, labels[rows], strict=True)]
    assert [line["temperature"] for line in teacher["views"]] == [1.0, 4.0]
    assert teacher["views"][1]["mean_label_weight"] == pytest.approx(np.mean(found), rel=1e-4)
    assert teacher["views"][1] != teacher["temperatures"][1]
    assert not {"latency", "views"} & runs["mnist1d"].teacher.keys()
    assert "latency" not in teacher


def test_a_teacher_of_images_teaches_with_the_weights_that_are_stored(runs):
    path = runs["images"].folder.parent / "resnet14" / "teacher.pt"
    weights = torch.load(path, weights_only=True)["weights"]
    assert {value.dtype for value in weights.values() if value.ndim > 1} == {torch.float16}
    network = build("resnet14", 0).eval()
    network.load_state_dict(weights)
    logits = predict(network, torch.from_numpy(slice_of_cifar100(48, 20, 40).test.inputs))
    stored, _ = logits_in(runs["images"].folder, "teacher")
    centred = (logits - logits.mean(dim=-1, keepdim=True)).numpy()
    assert np.abs(stored - centred).max() <= 1 / 32 + 1e-3


def test_learning_curves_have_a_line_for_each_student_and_epoch(runs):
    curves = json.loads((runs["images"].folder / "curves.json").read_text())
    assert len(curves) == 7 * 2 * 2
    for row in runs["images"].rows:
        own = [
            line
            for line in curves
            if all(line[key] == row[key] for key in ("method", "temperature", "seed"))
        ]
        assert [line["epoch"] for line in own] == [1, 2]
        assert all(line["train_loss"] > 0 for line in own)
        assert own[-1]["held_out_top1"] == row["held_out_top1"]  # both of all 20 images


def test_a_student_whose_logits_cannot_be_stored_diverged_at_last(tmp_path, monkeypatch):
    def predict_large(network, inputs):
        logits = predict(network, inputs)
        if logits.ndim == 3:
            logits[1] = 1e6
        return logits

    monkeypatch.setattr(record, "predict", predict_large)
    distillation = Distillation(SMALL, tmp_path, progress=False)
    distillation.train_students([0, 1], build("cnn", 0))
    _, row, *others = json.loads(distillation.part([0, 1]).read_text())["rows"]
    assert (row["seed"], row["top1"], row["diverged"]) == (1, None, {"epoch": 3, "step": 4})
    assert all("diverged" not in other for other in others)
