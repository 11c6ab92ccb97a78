"""`check_loss` itself: what it accepts, what it reports, and that it cannot be fooled."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from pld_edu.check import cases, check_loss
from pld_edu.check.adapters import recognise, takes_temperature
from pld_edu.check.mistakes import FORMULA
from pld_edu.check.recipes import Recipe, gradient, loss
from pld_edu.losses import pld_loss
from tests.support import mutants


def names(report):
    return [cause.name for cause in report.causes]


def test_a_table_of_memorised_answers_does_not_pass():
    answers = {
        (c.student_logits.tobytes(), c.teacher_logits.tobytes(), c.temperature): c.loss
        for c in cases()
    }

    def memorised(student_logits, teacher_logits, labels, temperature=1.0):
        if not np.isfinite(student_logits).all():
            return np.nan
        return answers.get((student_logits.tobytes(), teacher_logits.tobytes(), temperature), 1.0)

    report = check_loss(memorised, framework="numpy")
    assert not report.passed
    assert names(report) == ["unknown"]
    assert "random ones are not" in report.causes[0].sentence
    assert report.smallest.id.startswith("random")


def test_random_cases_differ_from_run_to_run():
    seen = []

    def watching(student_logits, teacher_logits, labels):
        seen.append(student_logits.tobytes())
        return mutants.numpy_pld(student_logits, teacher_logits, labels)

    check_loss(watching)
    once = set(seen)
    check_loss(watching)
    assert len(set(seen) - once) == 6


def test_the_package_s_own_loss_passes_without_a_remark():
    report = check_loss(pld_loss)
    assert report.passed
    assert report.causes == ()


def test_report_as_json():
    report = check_loss(mutants.naive_exp)
    data = json.loads(report.to_json())
    assert data["passed"] is False
    assert {"name", "sentence", "explains", "fix", "kind"} <= set(data["causes"][0])
    case = next(c for c in data["cases"] if c["id"] == "high")
    assert case["verdict"] == "wrong"
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


def test_every_case_is_run_even_if_the_first_fails():
    def picky(student_logits, teacher_logits, labels):
        if student_logits.shape[1] == 3:
            raise RuntimeError("no threes")
        return mutants.pld(student_logits, teacher_logits, labels)

    report = check_loss(picky)
    assert names(report) == ["raises"]
    verdicts = {c.id: c.verdict for c in report.cases}
    assert verdicts["base"] == "raises"
    assert verdicts["hundred-classes"] == verdicts["random-6"] == "right"


def test_expected_failures_do_not_count_and_unexpected_passes_are_told():
    fn = mutants.MUTANTS["temperature-ignored"]
    assert not check_loss(fn).passed
    report = check_loss(fn, expected_failures={"temperature": "fixed to 1 here"})
    assert report.passed
    assert report.notes == ()
    verdict = next(c.verdict for c in report.cases if c.id == "hot")
    assert verdict == "expected failure: fixed to 1 here"
    extra = {"temperature": "so", "base": "never", "no-such-thing": "typo"}
    notes = check_loss(fn, expected_failures=extra).notes
    assert len(notes) == 2
    assert "unexpected pass: 'base'" in notes[0]
    assert "'no-such-thing' names no case and no flag" in notes[1]


def test_a_hang_is_a_finding():
    def sleepy(student_logits, teacher_logits, labels):
        try:
            while len(labels) == 3:
                time.sleep(0.01)
        except Exception:  # A loss that catches everything must not swallow the alarm.
            pass
        return mutants.pld(student_logits, teacher_logits, labels)

    started = time.perf_counter()
    report = check_loss(sleepy, timeout=0.3)
    assert names(report) == ["hangs"]
    assert time.perf_counter() - started < 60  # It came back at all.
    assert {c.id for c in report.cases if c.verdict == "hangs"} >= {"batch-of-three"}


def test_a_loss_that_can_never_be_called():
    report = check_loss(lambda student: 0.0)
    assert not report.passed
    assert not report.callable
    assert str(report).startswith("PLD check: could not be called")


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"fn": 3}, TypeError, "fn must be callable, got int"),
        ({"gradient": "x"}, TypeError, "gradient must be callable, got str"),
        ({"framework": "caffe"}, ValueError, "framework must be one of .* got 'caffe'"),
        ({"weights": "label"}, ValueError, "weights must be one of .* got 'label'"),
        ({"reduction": "max"}, ValueError, "reduction must be one of .* got 'max'"),
        ({"timeout": 0.0}, ValueError, "timeout must be a positive number of seconds, got 0.0"),
    ],
)
def test_bad_arguments(kwargs, error, text):
    with pytest.raises(error, match=text):
        check_loss(**{"fn": mutants.pld, **kwargs})


def rows(student_logits, teacher_logits, labels, temperature=1.0):
    one = zip(student_logits, teacher_logits, labels, strict=True)
    return torch.stack([mutants.pld(s[None], t[None], y[None], temperature) for s, t, y in one])


def test_reductions():
    assert check_loss(rows, reduction="none").passed
    assert check_loss(mutants.MUTANTS["sum-over-batch"], reduction="sum").passed
    assert names(check_loss(mutants.pld, reduction="sum")) == ["mean-over-batch"]


def test_recognition():
    assert recognise(mutants.pld) == "torch"
    assert recognise(mutants.MUTANTS["log-base"]) == "torch"
    assert recognise(mutants.Module()) == "torch"
    assert recognise(torch.nn.Linear(1, 1)) == "torch"
    assert recognise(mutants.numpy_pld) == "numpy"
    assert recognise(mutants.numpy_float32) == "numpy"
    assert recognise(lambda s, t, y: s.softmax(-1)) is None
    if mutants.jax is not None:
        assert recognise(mutants.jax_pld) == "jax"
        assert recognise(mutants.jax.jit(mutants.jax_pld)) == "jax"


def test_code_that_names_no_framework_is_tried():
    def methods_only(student_logits, teacher_logits, labels):
        return student_logits.softmax(-1).sum()

    assert "PyTorch" in check_loss(methods_only).judged_as


def test_temperature_argument_is_recognised():
    assert takes_temperature(mutants.pld)
    assert takes_temperature(lambda *args, **kwargs: 0)
    assert not takes_temperature(mutants.Module())
    assert not takes_temperature(lambda s, t, y, tau=1.0: 0)


def test_numpy_check_imports_neither_torch_nor_jax():
    code = (
        "import sys, numpy as np\n"
        "from pld_edu.check import check_loss\n"
        "check_loss(lambda s, t, y: np.mean(s))\n"
        "assert not {'torch', 'jax'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_recipe_gradient_agrees_with_difference_quotients():
    case = next(c for c in cases() if c.id == "hot")
    h = 1e-6
    for recipe in [Recipe(), *(r for m in FORMULA for r in m.recipes(Recipe()))]:
        if recipe.weights == "student, detached" or recipe.log == "sum":
            continue  # Their point is that a part is not differentiated.
        shifts = h * np.eye(15).reshape(15, 3, 5)
        up = loss(recipe, case, s=case.student_logits + shifts)
        down = loss(recipe, case, s=case.student_logits - shifts)
        quotient = ((up - down) / (2 * h)).reshape(3, 5)
        np.testing.assert_allclose(gradient(recipe, case), quotient, atol=1e-7)
