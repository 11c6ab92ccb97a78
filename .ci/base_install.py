"""What the wheel can do where only NumPy and SciPy are installed: `.ci/run` runs this file."""

import subprocess
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import pld_edu
from pld_edu import check, data, reference, results


def loss(student_logits, teacher_logits, labels, temperature=1.0):
    """PLD for `pld-edu check`: -sum_k alpha_k log of the k-th choice, averaged over rows."""
    total = 0.0
    for s, t, y in zip(student_logits, teacher_logits, labels, strict=True):
        ranking = [y, *(c for c in np.argsort(-t, kind="stable") if c != y)]
        alpha = np.exp(t / temperature - np.logaddexp.reduce(t / temperature))
        left = [np.logaddexp.reduce(s[ranking[k:]]) for k in range(len(s))]
        total -= alpha[ranking] @ (s[ranking] - left)
    return total / len(labels)


def main() -> None:
    """Fail where something is missing from the wheel or too much is needed."""
    assert Path(pld_edu.__file__).is_relative_to(sys.prefix), pld_edu.__file__
    assert find_spec("torch") is None
    assert find_spec("matplotlib") is None
    assert {room.__name__ for room in (check, data, reference, results)} <= set(sys.modules)

    logits = np.array([[1.0, 2.0, 3.0]]), np.array([[0.5, 2.0, -1.0]]), np.array([2])
    np.testing.assert_allclose(reference.pld_loss(*logits), 0.262040, atol=5e-7)
    assert check.check_loss(loss).passed

    assert len(data.nascar2002()) == 36
    package = files("pld_edu")
    for name in ("py.typed", "which_pld.md", "check/vectors_v1.json", "data/cifar100_slice.webp"):
        assert (package / name).is_file(), name
    assert len((package / "data/cifar100_classes.txt").read_text().split()) == 100

    command = [Path(sys.prefix) / "bin" / "pld-edu", "distill"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert 'pip install "pld_edu[distill]"' in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    print("wheel", pld_edu.__version__, "works with NumPy and SciPy alone")


if __name__ == "__main__":
    main()
