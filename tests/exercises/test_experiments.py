"""Exercises 08, 09 and 10: what the checks call right, found by other roads."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from pld_edu.exercises.distil_mnist1d import half_width
from pld_edu.results.comparison import by_setting
from pld_edu.results.methods import Setting
from tests.support.exercises import accept, refuse
from tests.support.notebooks import read_cells

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
RESULTS = NOTEBOOKS / "results"


def test_seeds_in_pairs_by_the_recorded_run() -> None:
    rows = json.loads((RESULTS / "mnist1d" / "cnn-mlp32" / "rows.json").read_text())
    top1 = by_setting(rows, "top1")
    ce = top1[Setting("ce", None)]
    narrower = set()
    for method, tau in (("kd", 1.0), ("dist", 8.0)):
        own = top1[Setting(method, tau)]
        paired = ttest_1samp(own - ce, 0).confidence_interval()
        apart = ttest_ind(own, ce).confidence_interval()
        if paired.high - paired.low < apart.high - apart.low:
            narrower.add(method.upper())
    accept("08.1", (top1[Setting("kd", 1.0)] > ce).sum(), narrower)


def test_half_width_is_that_of_an_interval() -> None:
    values = np.random.default_rng(0).normal(size=15)
    values = 0.9 * (values - values.mean()) / values.std(ddof=1)
    assert ttest_1samp(values, 0).confidence_interval().high == pytest.approx(half_width(15))
    assert half_width(15) < 0.5 < half_width(14)


def test_plans_have_a_price() -> None:
    plan = {"ce_settings": 9, "kd_settings": 9, "pld_settings": 9, "tuning_seeds": 2}
    plan |= {"final_seeds": 15, "pick_on": "held-out"}
    accept("08.3", plan)
    accept("08.3", plan | {"tuning_seeds": 1, "final_seeds": 20})
    assert "These are 102 runs; 100" in refuse("08.3", plan | {"final_seeds": 16})
    assert "whole numbers from 1 on" in refuse("08.3", plan | {"tuning_seeds": 0})
    assert "A plan has the keys" in refuse("08.3", {"seeds": 10})


def test_gain_by_the_recorded_control() -> None:
    def pld(folder: str) -> float:
        rows = json.loads((RESULTS / folder / "resnet20-resnet8" / "rows.json").read_text())
        at = {(r["method"], r["temperature"], r["seed"]): r["top1"] for r in rows}
        return at["pld", 4.0, 0]

    accept("09.1", pld("cifar100-sgd/control") - pld("cifar100-sgd"), "CE")


def test_bars_of_the_control_are_those_of_notebook_10() -> None:
    (path,) = NOTEBOOKS.glob("10_*.ipynb")
    outputs = [o for c in read_cells(path, "code") for o in c["outputs"] if "text" in o]
    (table,) = [t for o in outputs if "PLD without label" in (t := "".join(o["text"]))]
    kd, without, with_label, pld = map(float, table.splitlines()[2].split()[3:])
    accept("10.1", (without - kd) / (pld - kd), pld - with_label)


def test_six_paths_change_one_thing_at_a_time() -> None:
    runs = list(product(("KD", "PLD"), (False, True), (1, 4)))
    right = 0
    for pair in product(runs, repeat=2):
        try:
            accept("10.2", *pair)
            right += 1
        except AssertionError:
            continue
    assert right == 6
    assert "Hand in two runs" in refuse("10.2", ("KD", False, 2), ("PLD", True, 1))
