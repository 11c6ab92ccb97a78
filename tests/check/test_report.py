"""The report as text, HTML and JSON."""

import json

import numpy as np
import pytest

from pld_edu.check import Report, cases, check_loss
from pld_edu.check.adapters import Result
from pld_edu.check.cases import random_cases
from pld_edu.check.compare import compare
from pld_edu.check.pld import PLD
from tests.support import mutants


def test_report_as_json():
    report = check_loss(mutants.naive_exp)
    data = json.loads(report.to_json())
    assert data["passed"] is False
    assert {"name", "sentence", "explains", "fix", "kind"} <= set(data["causes"][0])
    case = next(c for c in data["cases"] if c["id"] == "high")
    assert case["outcome"] == "wrong"
    assert case["got"] in ("inf", "nan")
    assert case["expected"] == pytest.approx(2.7289986608280294)


def test_report_as_text_fits_one_screen():
    for fn in (mutants.MUTANTS["tail-ascending"], mutants.hinge, mutants.published_listing):
        lines = str(check_loss(fn)).splitlines()
        assert len(lines) <= 30
        assert max(map(len, lines)) <= 100
    text = str(check_loss(mutants.MUTANTS["sum-over-batch"]))
    assert text.startswith("PLD check: WRONG (12 of 38 cases)")
    assert "3.0 times for 3 rows: summed over the batch" in text


def test_report_as_html_escapes_what_it_quotes():
    def fails(student_logits, teacher_logits, labels):
        raise RuntimeError("<b>not bold</b>")

    html = check_loss(fails, framework="numpy")._repr_html_()
    assert "&lt;b&gt;not bold" in html
    assert "<b>not bold" not in html


def test_smallest_case_is_a_published_one_if_there_is_one():
    random = random_cases(np.random.default_rng(0))
    published = [c for c in cases() if c.id in ("ten-classes", "hundred-classes")]

    def smallest(wrong):
        results = [Result(case, loss=np.array(-1.0)) for case in wrong]
        return Report(False, (), tuple(compare(results, PLD(), {}))).smallest.id

    assert smallest([*random, *published]) == "ten-classes"
    assert smallest(random[::-1]) == "random-1"
