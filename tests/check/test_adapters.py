"""Calling losses of each framework: recognition, gradients, time limits."""

import math
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from pld_edu.check import cases, check_loss, checker
from pld_edu.check.adapters import ADAPTERS, choose_adapter, takes_temperature
from tests.support import mutants


def names(report):
    return [cause.name for cause in report.causes]


def framework(fn):
    return choose_adapter(fn, None, None, 5.0).framework


def plain_python(student_logits, teacher_logits, labels, temperature=1.0):
    """Takes tensors too, but their gradient would be that of a part only."""
    total = 0.0
    for s, t, y in zip(student_logits, teacher_logits, labels, strict=True):
        order = sorted(range(len(t)), key=lambda c, t=t, y=y: (c != y, -t[c]))
        top = max(t)
        worth = [math.exp((t[c] - top) / temperature) for c in order]
        largest = max(s)
        for k, c in enumerate(order):
            tail = math.log(sum(math.exp(s[i] - largest) for i in order[k:])) if order[k:] else 0
            total += worth[k] / sum(worth) * (largest + tail - s[c])
    return total / len(labels)


def raises_in_numpy(student_logits, teacher_logits, labels):
    return np.linalg.inv(student_logits)[7]


def raises_in_torch(student_logits, teacher_logits, labels):
    return student_logits.gather(1, labels[:, None].float())


def not_for_threes(student_logits, teacher_logits, labels):
    assert student_logits.shape[1] != 3
    return mutants.pld(student_logits, teacher_logits, labels)


TORCH_CODE = {
    "function": mutants.pld,
    "partial": mutants.MUTANTS["log-base"],
    "module": mutants.Module(),
    "methods only": lambda s, t, y: s.softmax(-1).sum(),
    "fails for one row": mutants.squeezes,
    "fails for three classes": not_for_threes,
    "never works": raises_in_torch,
    "returns a float": lambda s, t, y: mutants.pld(s, t, y).item(),
    "converts arrays": lambda s, t, y: mutants.pld(*map(torch.as_tensor, (s, t, y))),
}
NUMPY_CODE = {
    "function": mutants.numpy_pld,
    "float32": mutants.numpy_float32,
    "operators only": lambda s, t, y: (s * t).sum(),
    "plain Python": plain_python,
    "never works": raises_in_numpy,
}


@pytest.mark.parametrize("name", TORCH_CODE)
def test_torch_code_is_recognised(name):
    assert framework(TORCH_CODE[name]) == "torch"


@pytest.mark.parametrize("name", NUMPY_CODE)
def test_numpy_code_is_recognised(name):
    assert framework(NUMPY_CODE[name]) == "numpy"


@pytest.fixture
def quick_jax():
    """Compiling takes most of the time, and no case is large."""
    if mutants.jax is None:
        pytest.skip("JAX is not installed")
    mutants.jax.config.update("jax_disable_most_optimizations", True)
    yield
    mutants.jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_jax")
def test_jax():
    report = check_loss(mutants.jax_pld)
    assert report.passed
    assert report.causes == ()
    assert "values and gradients, JAX" in report.judged_as


@pytest.mark.slow
@pytest.mark.usefixtures("quick_jax")
def test_jax_wrong(monkeypatch):
    few = [c for c in cases() if c.student_logits.shape[1] <= 4 and "temperature" not in c.flags]
    monkeypatch.setattr(checker, "all_cases", lambda: few)  # Each shape is a compilation.
    assert names(check_loss(mutants.jax_summed)) == ["sum-over-batch"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_jax")
def test_jax_code_is_recognised():
    assert framework(mutants.jax.jit(mutants.jax_pld)) == "jax"
    assert framework(lambda s, t, y: s.at[0].set(0.0).sum()) == "jax"


@pytest.mark.slow
@pytest.mark.usefixtures("quick_jax")
def test_jax_code_that_cannot_be_compiled(monkeypatch):
    few = [c for c in cases() if c.id in ("base", "batch-of-two")]
    monkeypatch.setattr(checker, "all_cases", lambda: few)

    def branches(student_logits, teacher_logits, labels):
        if (teacher_logits >= -1e30).all():
            return mutants.jax_pld(student_logits, teacher_logits, labels)

    report = check_loss(branches)
    assert report.passed
    assert "values and gradients, JAX" in report.judged_as


def test_framework_that_is_given_decides():
    for name in ADAPTERS:
        if name != "jax" or mutants.jax is not None:
            assert choose_adapter(lambda s, t, y: s.sum(), None, name, 5.0).framework == name


def test_plain_python_is_right_by_its_values():
    report = check_loss(plain_python)
    assert report.passed
    assert "values, NumPy" in report.judged_as


def test_gradient_function_replaces_autograd():
    def doubled(student_logits, teacher_logits, labels, temperature=1.0):
        inputs = (x.numpy() for x in (student_logits.double(), teacher_logits, labels))
        return 2 * mutants.numpy_gradient(*inputs, temperature)

    report = check_loss(mutants.pld, gradient=doubled)
    assert names(report) == ["gradient-wrong"]
    assert "2 times" in report.causes[0].sentence


def test_temperature_argument_is_recognised():
    assert takes_temperature(mutants.pld)
    assert takes_temperature(lambda *args, **kwargs: 0)
    assert not takes_temperature(mutants.Module())
    assert not takes_temperature(lambda s, t, y, tau=1.0: 0)


def test_temperature_that_is_handed_on_to_a_loss_without_one():
    def hands_on(*args, **kwargs):
        return mutants.Module()(*args, **kwargs)

    report = check_loss(hands_on, framework="torch")
    assert report.passed
    assert any("no argument called temperature" in note for note in report.notes)
    assert "PyTorch" in check_loss(hands_on).judged_as


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
    assert {c.id for c in report.cases if c.outcome == "hangs"} >= {"batch-of-three"}


def test_hanging_for_ever_ends():
    def sleeps(student_logits, teacher_logits, labels):
        time.sleep(60)

    report = check_loss(sleeps, timeout=0.1)
    assert names(report) == ["hangs"]
    assert not report.passed
    assert sum(c.outcome == "skipped" for c in report.cases) == len(report.cases) - 3


@pytest.mark.slow
def test_numpy_check_imports_neither_torch_nor_jax():
    code = (
        "import sys, numpy as np\n"
        "from pld_edu.check import check_loss\n"
        "check_loss(lambda s, t, y: np.mean(s))\n"
        "assert not {'torch', 'jax'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
