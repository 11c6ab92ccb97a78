"""Every run that the notebooks show, recomputed from the logits stored beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

RESULTS = Path(__file__).resolve().parents[2] / "notebooks" / "results"
LOGITS = sorted(RESULTS.rglob("logits_*.npz"))


def test_there_are_recorded_runs():
    assert LOGITS


@pytest.mark.parametrize("path", LOGITS, ids=lambda path: str(path.relative_to(RESULTS)))
def test_recorded_accuracies_are_those_of_the_stored_logits(path):
    with np.load(path) as file:
        logits, seed = file["logits"], file["seed"]
    assert logits.dtype == np.float16
    sixteenths = logits.astype(np.float64) * 16
    np.testing.assert_array_equal(sixteenths, np.round(sixteenths))
    labels = np.load(path.with_name("labels.npy"))
    order = np.argsort(-logits, axis=-1, kind="stable")
    top1 = 100 * np.mean(order[:, 0] == labels)
    top5 = 100 * np.mean((order[:, :5] == labels[:, None]).any(axis=-1))

    name = path.stem.removeprefix("logits_")
    if name == "teacher":
        teacher = json.loads(path.with_name("teacher.json").read_text())
        assert teacher["top1"] == top1
        assert teacher.get("top5", top5) == top5
        return
    rows = json.loads(path.with_name("rows.json").read_text())
    (row,) = (
        row
        for row in rows
        if row["seed"] == seed
        and name == row["method"] + (f"-t{row['temperature']:g}" if row["temperature"] else "")
    )
    assert (row["top1"], row["top5"]) == (top1, top5)


@pytest.mark.parametrize(
    "folder",
    sorted({path.parent for path in LOGITS}),
    ids=lambda path: str(path.relative_to(RESULTS)),
)
def test_a_recorded_run_is_complete(folder):
    rows = json.loads((folder / "rows.json").read_text())
    settings = {(row["method"], row["temperature"]) for row in rows}
    seeds = {row["seed"] for row in rows}
    assert len(rows) == len(settings) * len(seeds), "every setting has every seed, once"
    assert len(list(folder.glob("logits_*.npz"))) == len(settings) + 1, "and the teacher"
    experiment = json.loads((folder / "experiment.json").read_text())
    for key in ("dataset", "teacher", "student"):
        assert {row[key] for row in rows} == {experiment[key]}
    assert {row["epochs"] for row in rows} == {experiment["student_recipe"]["epochs"]}
    assert {row.get("train_images", experiment["train"]) for row in rows} == {experiment["train"]}
    assert len(np.load(folder / "labels.npy")) == experiment["test"]
