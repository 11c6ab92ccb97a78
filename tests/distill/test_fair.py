import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pld_edu.data import mnist1d
from pld_edu.distill import fair
from pld_edu.distill.experiment import FAIR, Draws, Recipe
from pld_edu.distill.networks import build
from pld_edu.distill.objectives import make_loss
from pld_edu.distill.train import Learner, Samples, Trainer, predict
from pld_edu.results.methods import Setting

SMALL = replace(
    FAIR,
    train=200,
    held_out=100,
    test=100,
    teacher_recipe=Recipe(epochs=2, batch_size=50, learning_rate=0.01, weight_decay=0.5),
    student_recipe=Recipe(epochs=3, batch_size=50, learning_rate=0.2, weight_decay=0.02),
    temperatures=(1.0, 4.0),
    draws=Draws(number=2, learning_rates=(0.02, 0.2), trials=2),
    seeds=2,
)
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return fair.run(SMALL, tmp_path_factory.mktemp("fair") / "run", progress=False, processes=1)


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def trial(method, temperature, rate, draw, held_out, test=0.0):
    row = {**Setting(method, temperature)._asdict(), "learning_rate": rate, "draw": draw}
    return row | {"held_out_top1": held_out, "top1": test}


def test_pick_takes_the_best_mean_of_held_out_accuracies_for_each_method():
    screened = [
        trial("ce", None, 0.1, 0, 50.0, test=90.0),
        trial("ce", None, 0.1, 1, 52.0, test=90.0),
        trial("ce", None, 0.2, 0, 51.0),
        trial("ce", None, 0.2, 1, 52.0),
        trial("pld", 1.0, 0.1, 0, 60.0),  # the best of one draw is not the best on average
        trial("pld", 1.0, 0.1, 1, 40.0),
        trial("pld", 2.0, 0.2, 0, 51.0),
        trial("pld", 2.0, 0.2, 1, 51.0),
        trial("pld", 4.0, 0.1, 0, 51.0),  # as good as the one before: the first stays
        trial("pld", 4.0, 0.1, 1, 51.0),
    ]
    assert fair.pick(screened) == {0.2: [Setting("ce", None), Setting("pld", 2.0)]}


def test_the_experiment_has_said_what_it_compares_and_shares_no_seed():
    pairs = [(first.method, second.method) for first, second in FAIR.primary]
    assert pairs == [("pld", "ce"), ("pld", "kd"), ("pld", "dist")]
    draws = FAIR.draws.number
    trials = range(FAIR.draws.first_seed, FAIR.draws.first_seed + draws * FAIR.draws.trials)
    teachers = range(FAIR.teacher_seed, FAIR.teacher_seed + draws)
    seeds = [*range(draws * FAIR.seeds), *trials, *teachers]
    assert len(set(seeds)) == len(seeds)


def test_the_recorded_comparison_has_the_settings_of_the_command():
    recorded = Path(__file__).parents[2] / "notebooks" / "results" / "mnist1d-fair"
    assert fair.run(FAIR, recorded) == fair.load(recorded)


@slow
def test_every_method_has_one_pick_from_the_grid_and_all_students(finished):
    for method in SMALL.methods:
        rows = [row for row in finished.rows if row["method"] == method]
        assert [(row["draw"], row["seed"]) for row in rows] == [(0, 0), (0, 1), (1, 2), (1, 3)]
        ((temperature, rate),) = {(row["temperature"], row["learning_rate"]) for row in rows}
        means = {}
        for row in finished.screen:
            if row["method"] == method:
                key = row["temperature"], row["learning_rate"]
                means[key] = means.get(key, 0.0) + row["held_out_top1"] / 4
        assert len(means) == (2 if method == "ce" else 4)
        assert means[temperature, rate] == pytest.approx(max(means.values()))
    assert {row["epochs"] for row in finished.rows} == {3}
    assert "top1" not in finished.screen[0], "the test set has no part in the screen"
    files = {path.name for path in finished.folder.iterdir()}
    expected = {f"{name}.json" for name in ("experiment", "rows", "screen", "teachers")}
    assert files == expected | {"predictions.npz", "labels.npy"}
    labels = np.load(finished.folder / "labels.npy")
    for own, draw in zip(labels, (0, 1), strict=True):
        np.testing.assert_array_equal(own, mnist1d(200, 100, 100, draw=draw).test.labels)


@slow
def test_every_draw_has_its_own_data_and_teacher(finished):
    first, second = (fair.load_draw(SMALL, draw) for draw in (0, 1))
    rows = torch.cat([split.inputs for split in (*first, *second)])
    assert len(rows.unique(dim=0)) == 2 * 400
    for split, expected in zip(first, mnist1d(200, 100, 100), strict=True):
        np.testing.assert_array_equal(split.inputs, expected.inputs)
    assert [row["seed"] for row in finished.teachers] == [2000, 2001]
    assert len({row["temperatures"][0]["mean_label_weight"] for row in finished.teachers}) == 2


@slow
def test_a_student_is_as_if_trained_alone(finished):
    row = next(row for row in finished.rows if (row["method"], row["seed"]) == ("ce", 3))
    data, student = fair.load_draw(SMALL, 1), build("mlp32", 3)
    learner = Learner(student, make_loss(Setting("ce", None)), learning_rate=row["learning_rate"])
    trainer = Trainer({"alone": learner}, data.train, SMALL.student_recipe, 3)
    trainer.fit(finished.folder / "alone.checkpoint", progress=False)
    (finished.folder / "alone.checkpoint").unlink()
    alone = predict(student, data.test.inputs).argmax(dim=-1).numpy()
    with np.load(finished.folder / "predictions.npz") as stored:
        predicted = stored["ce"][3]
    assert np.mean(alone == predicted) > 0.98
    assert row["top1"] == 100 * np.mean(predicted == data.test.labels.numpy())


@slow
def test_other_test_labels_change_no_pick(finished, tmp_path, monkeypatch):
    def load_draw(experiment, draw):
        train, held_out, (inputs, labels) = fair.Draw(*finished_draws[draw])
        return fair.Draw(train, held_out, Samples(inputs, (labels + 1) % 10))

    finished_draws = [fair.load_draw(SMALL, draw) for draw in (0, 1)]
    monkeypatch.setattr(fair, "load_draw", load_draw)
    other = fair.run(SMALL, tmp_path / "run", progress=False, processes=1)
    assert other.screen == finished.screen
    for row, expected in zip(other.rows, finished.rows, strict=True):
        for key in ("method", "temperature", "learning_rate", "seed", "held_out_top1"):
            assert row[key] == expected[key]
    assert [row["top1"] for row in other.rows] != [row["top1"] for row in finished.rows]


@slow
@pytest.mark.parametrize("after", [1, 3, 5])
def test_an_interrupted_run_ends_as_one_that_was_not(after, finished, tmp_path, monkeypatch):
    done, train = [], fair.train

    def interrupted(*arguments):
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(train(*arguments))

    monkeypatch.setattr(fair, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fair.run(SMALL, tmp_path / "run", progress=False, processes=1)
    assert not fair.is_finished(tmp_path / "run")
    monkeypatch.setattr(fair, "train", train)
    resumed = fair.run(SMALL, tmp_path / "run", progress=False, processes=1)
    assert without_seconds(resumed.rows) == without_seconds(finished.rows)
    assert resumed[2:] == finished[2:]
    with pytest.raises(FileExistsError, match="students is 2 there, 3 here"):
        fair.run(replace(SMALL, seeds=3), tmp_path / "run", progress=False)


@slow
def test_two_processes_do_what_one_does(finished, tmp_path):
    both = fair.run(SMALL, tmp_path / "run", progress=False, processes=2)
    assert without_seconds(both.rows) == without_seconds(finished.rows)
    assert both[2:] == finished[2:]
    assert json.loads((both.folder / "experiment.json").read_text())["draws"]["number"] == 2


@pytest.mark.parametrize("changes", [{"draws": None}, {"dataset": "cifar100"}])
def test_only_mnist1d_is_drawn_several_times(changes, tmp_path):
    with pytest.raises(ValueError, match="draws of mnist1d are compared, got"):
        fair.run(replace(SMALL, **changes), tmp_path / "run")
