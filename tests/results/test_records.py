import json
import subprocess
from dataclasses import asdict, replace

import numpy as np
import pytest

from pld_edu._files import write_json
from pld_edu.results import records
from pld_edu.results.methods import Setting
from pld_edu.results.records import (
    claim,
    provenance,
    read_hits,
    read_logits,
    round_logits,
    write_logits,
    write_predictions,
)
from tests.support.small_run import SMALL


def test_rounding_is_to_the_nearest_sixteenth_of_centred_rows():
    logits = np.random.default_rng(0).uniform(-100, 100, size=(200, 10)).astype(np.float32)
    stored = round_logits(logits)
    assert stored.dtype == np.float16
    sixteenths = stored.astype(np.float64) * 16
    np.testing.assert_array_equal(sixteenths, np.round(sixteenths))
    centred = logits - logits.mean(axis=1, keepdims=True)
    # float16 has 11 bits: beyond 128 its own grid is coarser than 1/16.
    assert np.abs(stored.astype(np.float64) - centred)[np.abs(centred) < 120].max() <= 0.0313


@pytest.mark.parametrize("spread", [3e-3, 0.1, 1.9])
def test_small_logits_keep_their_order(spread):
    logits = 7.0 + spread * np.random.default_rng(1).standard_normal((500, 100))
    stored = round_logits(logits).astype(np.float64)
    centred = logits - logits.mean(axis=1, keepdims=True)
    assert np.abs(stored - centred).max() <= spread / 60
    assert np.mean(stored.argmax(axis=1) == logits.argmax(axis=1)) > 0.97


def test_rounding_logits_that_are_all_equal():
    np.testing.assert_array_equal(round_logits(np.full((3, 4), 2.5)), np.zeros((3, 4)))


def test_written_logits_can_be_read(tmp_path):
    logits = np.tile(np.arange(-3.0, 3.0, 1 / 2), (8, 1))
    logits -= logits.mean(axis=1, keepdims=True)
    write_logits(tmp_path, "pld-t4", logits + 5, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["logits_pld-t4.npz"]
    with np.load(tmp_path / "logits_pld-t4.npz") as file:
        assert (file["logits"].dtype, file["seed"]) == (np.float16, 7)
    found = read_logits(tmp_path, "pld-t4")
    np.testing.assert_allclose(found, logits, atol=1 / 32)
    assert found.dtype == np.float64


@pytest.mark.parametrize("bad", [7e4, -7e4, np.nan, np.inf])
def test_logits_that_float16_cannot_hold(bad):
    with pytest.raises(FloatingPointError, match=r"below 65504 to be stored as float16, got"):
        round_logits(np.array([[0.0, bad]], dtype=np.float32))


def test_claiming_a_folder_again_for_the_same_experiment(tmp_path):
    claim(tmp_path / "a" / "b", asdict(SMALL))
    claim(tmp_path / "a" / "b", asdict(SMALL))


def test_a_folder_of_another_experiment_names_each_difference(tmp_path):
    claim(tmp_path, asdict(SMALL))
    recipe = replace(SMALL.student_recipe, epochs=7)
    with pytest.raises(FileExistsError) as caught:
        claim(tmp_path, asdict(replace(SMALL, train=150, student_recipe=recipe)))
    assert str(caught.value) == (
        f"{tmp_path} holds a run with other settings: "
        "student_recipe.epochs is 3 there, 7 here; train is 200 there, 150 here. "
        "Choose another --out folder, or remove that one."
    )


def test_a_setting_that_is_new_is_a_difference(tmp_path):
    claim(tmp_path, {"seeds": 3})
    with pytest.raises(FileExistsError, match="settings: precision is None there, float16 here"):
        claim(tmp_path, {"seeds": 3, "precision": "float16"})


def test_seeds_may_differ_and_the_note_has_the_most(tmp_path):
    for seeds, noted in ((3, 3), (5, 5), (2, 5)):
        claim(tmp_path, {"seeds": seeds})
        assert json.loads((tmp_path / "experiment.json").read_text()) == {"seeds": noted}


def test_predictions_of_more_seeds_are_added(tmp_path):
    pld, ce = ({"method": m, "temperature": t} for m, t in (("pld", 4.0), ("ce", None)))
    write_predictions(tmp_path, [(pld | {"seed": 0}, [1, 2]), (ce | {"seed": 0}, [3, 4])])
    write_predictions(tmp_path, [(pld | {"seed": 2}, [5, 6]), (ce | {"seed": 1}, [7, 8])])
    with np.load(tmp_path / "predictions.npz") as found:
        assert {name: found[name].tolist() for name in found} == {
            "pld-t4": [[1, 2], [255, 255], [5, 6]],
            "ce": [[3, 4], [7, 8]],
        }
        assert {found[name].dtype for name in found} == {np.dtype(np.uint8)}


def test_hits_are_the_predictions_that_equal_the_labels(tmp_path):
    assert read_hits(tmp_path, 2) == {}
    np.save(tmp_path / "labels.npy", [5, 6])
    pld = {"method": "pld", "temperature": 0.5}
    write_predictions(tmp_path, [(pld | {"seed": 1}, [5, 7])])
    write_predictions(tmp_path, [({"method": "ce", "temperature": None, "seed": 0}, [1, 6])])
    found = read_hits(tmp_path, 2)
    np.testing.assert_array_equal(found[Setting("pld", 0.5)], [[np.nan, np.nan], [1, 0]])
    np.testing.assert_array_equal(found[Setting("ce", None)], [[0, 1], [np.nan, np.nan]])
    assert [len(own) for own in read_hits(tmp_path, 1).values()] == [1, 1]


def test_rows_of_unknown_origin_are_not_overwritten(tmp_path):
    (tmp_path / "rows.json").write_text("[]")
    with pytest.raises(FileExistsError, match=r"rows.json but no experiment.json"):
        claim(tmp_path, asdict(SMALL))


def test_json_has_a_line_for_each_row_and_leaves_no_other_file(tmp_path):
    rows = [{"seed": seed, "top1": 0.1 * seed, "temperature": None} for seed in range(3)]
    write_json(tmp_path / "rows.json", rows)
    assert json.loads((tmp_path / "rows.json").read_text()) == rows
    assert len((tmp_path / "rows.json").read_text().splitlines()) == 3 + 2
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_provenance_names_versions_and_perhaps_a_commit():
    found = provenance()
    assert set(found["versions"]) == {"pld_edu", "python", "numpy", "torch"}
    assert found["versions"]["numpy"] == np.__version__
    assert found["commit"] is None or len(found["commit"]) == 40


def test_a_copy_without_git_is_told_its_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "__file__", str(tmp_path / "pld_edu/results/records.py"))
    monkeypatch.setenv("PLD_EDU_COMMIT", "abc")
    assert provenance()["commit"] == "abc"


def test_commit_is_none_where_the_repository_is_somebody_elses(tmp_path, monkeypatch):
    monkeypatch.delenv("PLD_EDU_COMMIT", raising=False)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=a"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    for folder, commit in ((tmp_path, head.stdout.strip()), (tmp_path / "lib", None)):
        (folder / "pld_edu" / "results").mkdir(parents=True)
        monkeypatch.setattr(records, "__file__", str(folder / "pld_edu/results/records.py"))
        assert provenance()["commit"] == commit
