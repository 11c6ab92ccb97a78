"""The checker on losses that are known to be wrong, or right. None of them knows pld_edu."""

from functools import partial
from itertools import combinations
from math import isfinite
from random import Random

import pytest

from pld_edu.check import check_loss
from tests.support import mutants


def mistakes(report):
    return [cause.name for cause in report.causes if cause.kind == "mistake"]


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_every_known_mistake_is_named(name):
    report = check_loss(mutants.MUTANTS[name])
    assert not report.passed
    assert mistakes(report) == [name]
    wrong = sum(c.outcome == "wrong" and isfinite(c.got) for c in report.cases)
    assert report.causes[0].explains == wrong


@pytest.mark.parametrize(("name", "variant"), mutants.VARIANTS)
def test_variants_of_a_mistake_share_its_name(name, variant):
    report = check_loss(mutants.VARIANTS[name, variant])
    assert not report.passed
    assert mistakes(report) == [name]


@pytest.mark.parametrize("name", mutants.OTHERS)
def test_numerical_mistakes_and_side_effects_are_named(name):
    report = check_loss(mutants.OTHERS[name])
    assert not report.passed
    assert mistakes(report) == [name]


def test_missing_detach_is_named_though_the_numbers_are_right():
    report = check_loss(mutants.no_detach)
    assert [(c.name, c.kind) for c in report.causes] == [("teacher-not-detached", "remark")]
    assert report.passed


@pytest.mark.slow
@pytest.mark.parametrize("name", mutants.UNKNOWN)
def test_what_nobody_knows_is_called_unknown(name):
    report = check_loss(mutants.UNKNOWN[name])
    assert not report.passed
    assert mistakes(report) == ["unknown"]
    assert report.smallest.id == "two-classes"


def random_pairs(n):
    """Pairs of different steps; without those whose numbers cannot be told from others."""
    # Uniform weights hide what is done to the weights; the other two pairs are each the mirror
    # image of another list of mistakes. The eps branch of the mutant has no prefix sums.
    same = [
        {"label-not-first", "prefix-sums"},
        {"label-not-first", "tail-ascending"},
        {"tail-ascending", "prefix-sums"},
        {"prefix-sums", "eps-in-log"},
        {"weights-not-permuted", "uniform-weights"},
        {"temperature-ignored", "uniform-weights"},
    ]
    listed = list(mutants.SWITCHES)[:14]
    pairs = [
        (a, b)
        for a, b in combinations(listed, 2)
        if {a, b} not in same and not mutants.SWITCHES[a].keys() & mutants.SWITCHES[b].keys()
    ]
    return Random(2506).sample(pairs, n)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), random_pairs(8))
def test_random_pairs_are_named_as_pairs(first, second):
    fn = partial(mutants.pld, **mutants.SWITCHES[first], **mutants.SWITCHES[second])
    report = check_loss(fn)
    assert not report.passed
    assert sorted(mistakes(report)) == sorted([first, second])


@pytest.mark.slow
def test_a_mistake_and_a_factor():
    report = check_loss(partial(mutants.pld, descending=False, factor=3.0))
    assert mistakes(report) == ["tail-ascending", "constant-factor"]
    assert "3 times" in report.causes[1].sentence


def test_a_blend_names_its_two_parts():
    report = check_loss(partial(mutants.pld, ce=0.3))
    assert mistakes(report) == ["extra-cross-entropy"]
    assert report.causes[0].sentence == "The right loss plus 0.3 times cross-entropy."
    report = check_loss(mutants.VARIANTS["extra-kd", "mixed"])
    assert report.causes[0].sentence == "0.5 times the right loss plus 0.5 times KD's term."


def test_large_wrong_numbers_may_have_large_rounding_errors():
    report = check_loss(partial(mutants.pld, weights="logits", factor=500.0))
    assert mistakes(report) == ["weights-without-softmax", "constant-factor"]


def test_a_mistake_and_low_precision():
    assert mistakes(check_loss(mutants.half_and_summed)) == ["low-precision", "sum-over-batch"]


def test_a_hidden_overflow_is_not_taken_for_a_number():
    assert mistakes(check_loss(mutants.naive_nan_to_zero)) == ["nan-to-zero"]


@pytest.mark.parametrize("name", mutants.RIGHT)
def test_no_false_alarm(name):
    report = check_loss(mutants.RIGHT[name])
    assert report.passed
    assert mistakes(report) == []


def test_other_ties_are_a_convention():
    causes = check_loss(mutants.other_ties).causes
    assert [(c.name, c.kind, c.explains) for c in causes] == [("other-ties", "convention", 2)]


def test_trouble_beyond_a_hundred_is_a_weakness_with_its_scale():
    report = check_loss(mutants.shifted_exp)
    assert report.passed
    assert [(c.name, c.kind) for c in report.causes] == [("extreme-scale", "weakness")]
    assert "at 120 (spread-120)" in report.causes[0].sentence


def test_module_without_temperature():
    report = check_loss(mutants.Module())
    assert report.passed
    assert any("no argument called temperature" in note for note in report.notes)
    assert not any("temperature" in c.flags for c in report.cases)


def test_numpy_gradient_is_judged():
    def halved(*args, **kwargs):
        return mutants.numpy_gradient(*args, **kwargs) / 2

    assert check_loss(mutants.numpy_pld, gradient=mutants.numpy_gradient).passed
    report = check_loss(mutants.numpy_pld, gradient=halved)
    assert mistakes(report) == ["gradient-wrong"]
    assert "0.5 times" in report.causes[0].sentence
    assert any("gradients were not judged" in n for n in check_loss(mutants.numpy_pld).notes)


def test_a_gradient_a_little_off_is_shown_in_numbers():
    def off(*args, **kwargs):
        return mutants.numpy_gradient(*args, **kwargs) * 1.0005

    report = check_loss(mutants.numpy_pld, gradient=off)
    assert mistakes(report) == ["gradient-wrong"]
    assert "-0.19671 at [0, 0] of two-classes, where -0.196612 is right" in str(report.causes[0])


def test_a_gradient_of_another_shape():
    def first_row(*args, **kwargs):
        return mutants.numpy_gradient(*args, **kwargs)[0]

    report = check_loss(mutants.numpy_pld, gradient=first_row)
    assert mistakes(report) == ["gradient-wrong"]
    assert "has shape (2,) for logits (1, 2)" in report.causes[0].sentence


def test_a_gradient_that_is_zero_for_single_rows_only():
    def for_batches(student_logits, *args, **kwargs):
        slope = mutants.numpy_gradient(student_logits, *args, **kwargs)
        return slope * (2 if len(slope) > 1 else 0)

    report = check_loss(mutants.numpy_pld, gradient=for_batches)
    assert mistakes(report) == ["gradient-wrong"]


def test_a_gradient_that_cannot_be_had():
    report = check_loss(mutants.no_backward)
    assert mistakes(report) == ["gradient-wrong"]
    assert "cannot be had: NotImplementedError: no backward" in report.causes[0].sentence
    assert not any(c.outcome == "convention" for c in report.cases)


@pytest.mark.parametrize("fn", [mutants.list_mle, mutants.list_mle_by_classes])
def test_list_mle_of_either_scale_is_right(fn):
    assert check_loss(fn, weights="uniform").passed


@pytest.mark.parametrize("eps", [1e-6, 1e-10, 1e-12])
def test_list_mle_with_an_eps(eps):
    report = check_loss(partial(mutants.list_mle, eps=eps), weights="uniform")
    assert mistakes(report) == ["eps-in-log"]
    assert f"{eps:.2g} added" in report.causes[0].sentence


def test_pld_is_not_list_mle():
    assert mistakes(check_loss(mutants.pld, weights="uniform")) == ["teacher-weights"]
