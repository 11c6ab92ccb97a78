"""`check_loss` itself: what it accepts, that every case counts, and that it cannot be fooled."""

import numpy as np
import pytest
import torch

from pld_edu.check import cases, check_loss
from pld_edu.losses import pld_loss
from tests.support import mutants


def names(report):
    return [cause.name for cause in report.causes]


@pytest.mark.slow
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


def test_every_case_is_run_even_if_the_first_fails():
    def picky(student_logits, teacher_logits, labels):
        if student_logits.shape[1] == 3:
            raise RuntimeError("no threes")
        return mutants.pld(student_logits, teacher_logits, labels)

    report = check_loss(picky)
    assert names(report) == ["raises"]
    outcomes = {c.id: c.outcome for c in report.cases}
    assert outcomes["base"] == "raises"
    assert outcomes["hundred-classes"] == outcomes["random-6"] == "right"


def test_expected_failures_do_not_count_and_unexpected_passes_are_told():
    fn = mutants.MUTANTS["temperature-ignored"]
    assert not check_loss(fn).passed
    report = check_loss(fn, expected_failures={"temperature": "fixed to 1 here"})
    assert report.passed
    assert report.notes == ()
    outcome = next(c.outcome for c in report.cases if c.id == "hot")
    assert outcome == "expected failure: fixed to 1 here"
    extra = {"temperature": "so", "base": "never", "no-such-thing": "typo"}
    notes = check_loss(fn, expected_failures=extra).notes
    assert len(notes) == 2
    assert "unexpected pass: 'base'" in notes[0]
    assert "'no-such-thing' names no case and no flag" in notes[1]


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
