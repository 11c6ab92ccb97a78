"""Every run that the notebooks show, recomputed from the logits stored beside it."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from pld_edu.results.methods import Setting
from pld_edu.results.records import NO_CLASS

RESULTS = Path(__file__).resolve().parents[2] / "notebooks" / "results"
LOGITS = sorted(RESULTS.rglob("logits_*.npz"))
PREDICTIONS = sorted(RESULTS.rglob("predictions.npz"))


def test_there_are_recorded_runs():
    assert LOGITS


@pytest.mark.parametrize("path", LOGITS, ids=lambda path: str(path.relative_to(RESULTS)))
def test_recorded_accuracies_agree_with_the_stored_logits(path):
    with np.load(path) as file:
        logits, seed = file["logits"], file["seed"]
    assert logits.dtype == np.float16
    logits = logits.astype(np.float64)
    grid = 2.0 ** next(-k for k in range(4, 25) if not (logits * 2.0**k % 1).any())
    labels = np.load(path.with_name("labels.npy"))
    name = path.stem.removeprefix("logits_")
    if name == "teacher":
        found = json.loads(path.with_name("teacher.json").read_text())
    else:
        rows = json.loads(path.with_name("rows.json").read_text())
        (found,) = (
            row
            for row in rows
            if row["seed"] == seed
            and name == row["method"] + (f"-t{row['temperature']:g}" if row["temperature"] else "")
        )
    if path.relative_to(RESULTS).parts[0] != "cifar100":  # accuracies of the rounded logits
        order = np.argsort(-logits, axis=-1, kind="stable")
        for k in (1, 5):
            exact = 100 * np.mean((order[:, :k] == labels[:, None]).any(axis=-1))
            assert found.get(f"top{k}", exact) == exact
        return
    # Of the network's own logits, each up to half a grid away: the label is among the first k for
    # certain if fewer than k others come within a grid of it, perhaps if fewer than k are above.
    own = np.take_along_axis(logits, labels[:, None], axis=-1)
    near = 100 * np.cumsum(np.bincount((logits > own - grid).sum(axis=-1), minlength=101))
    far = 100 * np.cumsum(np.bincount((logits > own + grid).sum(axis=-1), minlength=101))
    for k in (1, 5):
        lowest, highest = near[k] / len(labels), far[k - 1] / len(labels)
        assert lowest <= found[f"top{k}"] <= highest
        assert highest - lowest < 20


@pytest.mark.parametrize("path", PREDICTIONS, ids=lambda path: str(path.relative_to(RESULTS)))
def test_recorded_accuracies_are_those_of_the_predicted_classes(path):
    labels = np.load(path.with_name("labels.npy"))
    rows = json.loads(path.with_name("rows.json").read_text())
    found = {(Setting(row["method"], row["temperature"]).name, row["seed"]): row for row in rows}
    with np.load(path) as predictions:
        for name in predictions:
            for seed, own in enumerate(predictions[name]):
                if (own != NO_CLASS).all():
                    row = found[name, seed]
                    right = labels[row["draw"]] if "draw" in row else labels
                    assert row["top1"] == 100 * np.mean(own == right)


def test_the_script_of_the_runs_with_sgd_has_their_settings():
    home = RESULTS / "cifar100-sgd"
    script = runpy.run_path(str(home / "record.py"))
    for experiment in (script["RESNET"], script["MOBILENET"]):
        note = json.loads(json.dumps(experiment.note))
        folder = f"{experiment.teacher}-{experiment.student}"
        assert note == json.loads((home / folder / "experiment.json").read_text())
    control = home / "control" / "resnet20-resnet8"
    assert json.loads((control / "experiment.json").read_text())["student"] == "resnet8"
    rows = json.loads((control / "rows.json").read_text())
    factors = {Setting(row["method"], row["temperature"]): row["loss_factor"] for row in rows}
    assert factors == script["FACTORS"]


@pytest.mark.parametrize(
    "folder",
    sorted({path.parent for path in (*LOGITS, *PREDICTIONS)}),
    ids=lambda path: str(path.relative_to(RESULTS)),
)
def test_a_recorded_run_is_complete(folder):
    rows = json.loads((folder / "rows.json").read_text())
    settings = {(row["method"], row["temperature"]) for row in rows}
    seeds = {row["seed"] for row in rows}
    assert len(rows) == len(settings) * len(seeds), "every setting has every seed, once"
    with_teacher = folder.parent.name != "control"  # which has the teacher of the run beside it
    if logits := list(folder.glob("logits_*.npz")):
        assert len(logits) == len(settings) + with_teacher
    experiment = json.loads((folder / "experiment.json").read_text())
    for key in ("dataset", "teacher", "student"):
        assert {row[key] for row in rows} == {experiment[key]}
    assert {row["epochs"] for row in rows} == {experiment["student_recipe"]["epochs"]}
    assert {row.get("train_images", experiment["train"]) for row in rows} == {experiment["train"]}
    assert np.load(folder / "labels.npy").shape[-1] == experiment["test"]
