"""Exercise 11.4: the rule by which numbers are judged against the published cases."""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from typing import Any

from pld_edu.check import VECTORS

from .kinds import FunctionExercise, Mistake

Entries = Sequence[dict[str, Any]]
Numbers = Mapping[str, Any]


def _allowed(case: dict[str, Any], kind: str = "float64") -> tuple[float, float]:
    tolerance = case["tolerance"][kind]
    return tolerance["absolute"], tolerance["relative"] * abs(case["loss"])


def _failing(cases: Entries, numbers: Numbers) -> set[str]:
    """The ids of cases without a number, with a NaN, or further off than is allowed."""

    def passes(case: dict[str, Any]) -> bool:
        if case["id"] not in numbers:
            return False
        return abs(numbers[case["id"]]["loss"] - case["loss"]) <= sum(_allowed(case))

    return {case["id"] for case in cases if not passes(case)}


def _failing_if(
    fails: Callable[[float, dict[str, Any]], bool], missing: bool = True
) -> Callable[[Entries, Numbers], set[str]]:
    """The same loop with another idea of what fails."""

    def failing(cases: Entries, numbers: Numbers) -> set[str]:
        present = [case for case in cases if case["id"] in numbers]
        absent = {case["id"] for case in cases if case["id"] not in numbers}
        bad = {c["id"] for c in present if fails(numbers[c["id"]]["loss"] - c["loss"], c)}
        return bad | absent if missing else bad

    return failing


def _first_only(cases: Entries, numbers: Numbers) -> set[str]:
    failing = _failing(cases, numbers)
    return set(islice((case["id"] for case in cases if case["id"] in failing), 1))


def _json_cases() -> tuple[tuple[Entries, Numbers], ...]:
    """Three published cases, and numbers that somebody printed for them."""
    wanted = ("base", "spread-pair", "spread-label")
    entries = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
    entries = [entry for entry in entries if entry["id"] in wanted]
    right = {entry["id"]: {"loss": entry["loss"]} for entry in entries}

    def but(**losses: float | None) -> Numbers:
        numbers = deepcopy(right)
        for name, value in losses.items():
            key = name.replace("_", "-")
            if value is None:
                del numbers[key]
            else:
                numbers[key]["loss"] = value
        return numbers

    base, pair, label = (entry["loss"] for entry in entries)
    return (
        (entries, right),
        (entries[:1], but(base=base + 1e-6)),
        (entries[:1], but(base=base - 1e-6)),
        (entries[:1], but(base=base * (1 + 2e-15))),
        (entries, but(base=float("nan"))),
        (entries, but(spread_pair=None)),
        (entries, but(spread_label=label * (1 + 9e-14))),
        (entries, but(spread_pair=pair + 5e-14)),
        (entries, but(base=base + 0.1, spread_label=float("inf"))),
    )


JUDGE_NUMBERS = FunctionExercise(
    title="11.4 a judge in six lines",
    level="core",
    minutes=12,
    right=_failing,
    agrees_with="the rule of the vector file",
    cases=_json_cases(),
    then="This is all that a port to another language needs.",
    mistakes=(
        Mistake(
            "nan-passes",
            _failing_if(lambda error, case: abs(error) > sum(_allowed(case))),
            "a NaN is not larger than anything, so it is let through.",
            "Ask whether a number is close enough, and let everything else fail.",
        ),
        Mistake(
            "missing-passes",
            _failing_if(lambda error, c: not abs(error) <= sum(_allowed(c)), missing=False),
            "a case without a number counts as right.",
            "An implementation that skips the hard cases must not pass.",
        ),
        Mistake(
            "exact",
            _failing_if(lambda error, case: error != 0),
            "every bit has to agree; nobody's arithmetic does that.",
            'Each case brings its tolerance: case["tolerance"]["float64"].',
        ),
        Mistake(
            "absolute-only",
            _failing_if(lambda error, case: not abs(error) <= _allowed(case)[0]),
            "large losses are judged too strictly.",
            "Allowed is absolute + relative * |loss|.",
        ),
        Mistake(
            "relative-only",
            _failing_if(lambda error, case: not abs(error) <= _allowed(case)[1]),
            "losses near 0 are judged too strictly.",
            "Allowed is absolute + relative * |loss|.",
        ),
        Mistake(
            "one-sided",
            _failing_if(lambda error, case: not error <= sum(_allowed(case))),
            "a number may be too small by any amount.",
            "Take the absolute value of the difference.",
        ),
        Mistake(
            "float32-tolerance",
            _failing_if(lambda error, c: not abs(error) <= sum(_allowed(c, "float32"))),
            "the tolerance is that of float32.",
            "The numbers were computed in float64.",
        ),
        Mistake(
            "first-only",
            _first_only,
            "it stops at the first failure.",
            "A report that names all failing cases is worth far more.",
        ),
        Mistake(
            "passing-cases",
            lambda cases, numbers: {c["id"] for c in cases} - _failing(cases, numbers),
            "these are the cases that pass.",
            "Return those that fail.",
        ),
    ),
)
