"""The command: exit statuses, JSON, numbers from a file, hangs and crashes in a child."""

import argparse
import json

import pytest

from pld_edu.check import cases
from pld_edu.check.command import add_arguments, run

SOURCE = """
import ctypes, os, time
import numpy as np

def right(student_logits, teacher_logits, labels, temperature=1.0):
    out = []
    for s, t, y in zip(student_logits, teacher_logits, labels):
        order = np.r_[y, [c for c in np.argsort(-t, kind="stable") if c != y]]
        q = np.exp(t / temperature - np.logaddexp.reduce(t / temperature))
        tails = np.logaddexp.accumulate(s[order][::-1])[::-1]
        out.append(q[order] @ (tails - s[order]))
    return np.mean(out)

def summed(s, t, y, temperature=1.0):
    print("noise on standard output")
    return right(s, t, y, temperature) * len(y)

def crashes(s, t, y):
    if len(y) == 3:
        ctypes.string_at(0)
    return right(s, t, y)

def hangs_in_c(s, t, y):
    if len(y) == 4:
        ctypes.PyDLL(None).sleep(60)  # Holds the interpreter's lock: no alarm gets through.
    return right(s, t, y)

def takes_two(s, t):
    return 0.0

class Loss:
    def __call__(self, s, t, y, temperature=1.0):
        return right(s, t, y, temperature)

number = 3
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        status = run(parser.parse_args([*arguments, "--json", "report.json"]))
        written = tmp_path / "report.json"
        return status, json.loads(written.read_text()) if written.exists() else None

    return call


def names(report):
    return [cause["name"] for cause in report["causes"]]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["mine.py:right", "mine:right", "mine.py:Loss"])
def test_right_is_0(command, target):
    status, report = command(target)
    assert status == 0
    assert report["passed"] is True


def test_wrong_is_1(command, capsys):
    status, report = command("mine.py:summed")
    assert status == 1
    assert names(report) == ["sum-over-batch"]
    assert "sum-over-batch" in capsys.readouterr().out


@pytest.mark.slow
def test_a_crash_is_a_finding_and_the_other_cases_are_still_run(command):
    status, report = command("mine.py:crashes")
    assert status == 1
    assert names(report) == ["crashes"]
    assert "SIGSEGV" in report["causes"][0]["sentence"]
    outcomes = {c["id"]: c["outcome"] for c in report["cases"]}
    assert outcomes["batch-of-three"] == "crashes"
    assert outcomes["spread-20000"] == "right"


@pytest.mark.slow
def test_a_hang_outside_python_is_ended(command):
    status, report = command("mine.py:hangs_in_c", "--timeout", "0.2")
    assert status == 1
    assert names(report) == ["hangs"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("mine.py:takes_two", "takes 2 positional arguments but 3 were given"),
        ("mine.py:number", "is a int, not a function"),
        ("mine.py:absent", "has no attribute 'absent'"),
        ("nowhere.py:f", "no file nowhere.py"),
        ("no_such_package:f", "No module named 'no_such_package'"),
        ("mine.py", "not of the form package.module:function or path/to/file.py:function"),
    ],
)
def test_what_cannot_be_called_is_2_with_the_reason(command, capsys, target, reason):
    status, _ = command(target)
    assert status == 2
    streams = capsys.readouterr()
    assert reason in " ".join((streams.out + streams.err).split())


def outputs(factor=1.0, gradient=True):
    return {
        c.id: {"loss": factor * c.loss}
        | ({"gradient": (factor * c.gradient).tolist()} if gradient else {})
        for c in cases()
    }


def write(numbers):
    with open("numbers.json", "w") as file:
        json.dump(numbers, file)


def test_numbers_from_a_file(command):
    write(outputs())
    status, report = command("--outputs", "numbers.json")
    assert status == 0
    assert any("cannot be tried on random cases" in note for note in report["notes"])


def test_wrong_numbers_from_a_file_are_explained(command):
    write(outputs(2.0, gradient=False))
    status, report = command("--outputs", "numbers.json")
    assert status == 1
    assert names(report) == ["constant-factor"]
    assert report["causes"][0]["sentence"].startswith("2 times")


def test_missing_and_unknown_cases_are_told(command):
    numbers = outputs()
    del numbers["base"]
    numbers["my-own"] = {"loss": None}
    write(numbers)
    status, report = command("--outputs", "numbers.json")
    assert status == 0
    assert "no numbers for 1 of the cases: base" in report["notes"]
    assert "no such case: my-own" in report["notes"]


def test_nan_in_a_file(command):
    numbers = outputs(gradient=False)
    numbers["high"]["loss"] = None
    numbers["low"]["loss"] = "inf"
    write(numbers)
    status, report = command("--outputs", "numbers.json")
    assert status == 1
    assert names(report) == ["overflow"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[1]", "must hold one object, case id to numbers, got [1]"),
        ('{"base": 3}', 'case \'base\' must hold {"loss": x, "gradient": [[...]]}, got 3'),
        ('{"base": {"loss": "much"}}', "case 'base' holds something that is not a number"),
        ('{"mine": {"loss": 1}}', "holds no case of the vectors"),
    ],
)
def test_a_file_that_cannot_be_judged_is_2(command, capsys, text, reason):
    with open("numbers.json", "w") as file:
        file.write(text)
    status, _ = command("--outputs", "numbers.json")
    assert status == 2
    assert reason in capsys.readouterr().err


def test_either_a_function_or_a_file(command, capsys):
    assert command()[0] == 2
    assert "either a function to check or --outputs FILE" in capsys.readouterr().err
