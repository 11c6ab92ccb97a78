import json
from dataclasses import replace
from pathlib import Path

import pytest

from pld_edu.distill.experiment import EXPERIMENTS, PRESETS
from pld_edu.results.methods import Setting
from tests.support.small_run import SMALL


def test_ce_once_and_the_others_at_every_temperature():
    names = [setting.name for setting in EXPERIMENTS["mnist1d"].settings]
    others = [f"{method}-t{t}" for method in ("kd", "dist", "pld") for t in (1, 2, 4, 8)]
    assert names == ["ce", *others]
    assert Setting("pld", 0.5).name == "pld-t0.5"


def test_the_default_is_large_enough():
    mnist1d = EXPERIMENTS["mnist1d"]
    assert mnist1d.seeds >= 10
    assert mnist1d.train == 4000
    assert min(mnist1d.held_out, mnist1d.test) >= 6000


def test_cifar100_compares_the_settings_of_the_paper_and_pld_at_three_temperatures():
    for experiment in (EXPERIMENTS["cifar100"], PRESETS["small"], PRESETS["cpu"]):
        names = [setting.name for setting in experiment.settings]
        assert names == ["ce", "kd-t4", "dist-t4", "dkd-t4", "pld-t1", "pld-t2", "pld-t4"]
        primary = [(ours.name, theirs.name) for ours, theirs in experiment.primary]
        assert primary == [("pld-t4", "kd-t4"), ("pld-t4", "dist-t4")]
        assert experiment.held_out == 5000
    assert EXPERIMENTS["cifar100"].train + EXPERIMENTS["cifar100"].held_out == 50_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("ce", "bert")}, "methods must be some of ce, kd, dist, dkd, pld, got bert"),
        ({"methods": ()}, "got none"),
        ({"methods": ("ce", "ce")}, "name each method once, got ce, ce"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"student_recipe": replace(SMALL.student_recipe, epochs=0)}, "at least 1, got 0"),
        ({"train": 40}, r"batch_size must lie in 1..40, the training samples, got 50"),
    ],
)
def test_impossible_experiments(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_the_note_leaves_out_what_does_not_apply():
    signals, images = EXPERIMENTS["mnist1d"], EXPERIMENTS["cifar100"]
    assert (signals.images, images.images) == (False, True)
    assert not {"precision", "curve_samples"} & signals.note.keys()
    assert (images.note["precision"], images.note["curve_samples"]) == ("bfloat16", 5000)
    recipe = {"epochs": 40, "batch_size": 128, "learning_rate": 1e-3, "weight_decay": 0.5}
    assert images.note["student_recipe"] == recipe


@pytest.mark.parametrize(
    ("teacher", "student", "beta"),
    [
        ("resnet32x4", "resnet8x4", 8.0),
        ("wrn_40_2", "wrn_40_1", 6.0),
        ("resnet56", "resnet20", 2.0),
        ("resnet20", "resnet8", 8.0),
    ],
)
def test_dkd_has_the_beta_of_its_authors_and_another_one_than_8_is_noted(teacher, student, beta):
    experiment = replace(EXPERIMENTS["cifar100"], teacher=teacher, student=student)
    assert experiment.dkd_beta == beta
    assert experiment.note.get("dkd_beta", 8.0) == beta


@pytest.mark.parametrize(
    ("name", "experiment"),
    [
        ("mnist1d/cnn-mlp32", EXPERIMENTS["mnist1d"]),
    ],
)
def test_the_note_of_a_recorded_run_is_that_of_its_experiment(name, experiment):
    path = Path(__file__).parents[2] / "notebooks" / "results" / name / "experiment.json"
    assert json.loads(path.read_text()) == json.loads(json.dumps(experiment.note))
