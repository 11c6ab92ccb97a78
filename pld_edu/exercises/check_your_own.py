"""Exercises for notebook 11: read a report, name mistakes, mend a loss, design a case.

The suspects are those of the notebook, so that a wrong guess can be answered with its numbers.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pld_edu.check import VECTORS, Case, cases
from pld_edu.check.engine import Mistake, as_array
from pld_edu.check.mistakes import BY_NAME

from .calling import NotYet
from .kinds import Code, Values, wrong
from .numpy_to_pytorch import wrong_torch_pld
from .pld_losses import as_case, passes_check_loss, wrong_pld

LINES = {
    1: "The label's key is infinity, which puts the label first: as it should be.",
    2: "The sort finds the ranking, favourite first, and keeps ties in order: right.",
    3: "Both rows are brought into the order of the ranking: as it should be.",
    5: "A running logsumexp from the end is the tail of each rank: right.",
    6: "Weights times tails minus logits, summed over the ranks: as it should be.",
    7: "PLD is the mean over the batch: right.",
}
READ_A_REPORT = Values(
    heading="11.1 read a report · warm-up · 5 minutes",
    right={"line": 4},
    rtol=0.0,
    hint="The line number is a whole number from 1 to 7.",
    praise="One letter: the weights are the teacher's, softmax(t / temperature). This student says "
    "for itself which choices matter.",
    mistakes=tuple(
        wrong(f"line-{line}", line)(
            why, "The report speaks of the weights: whose softmax, and where is it taken?"
        )
        for line, why in LINES.items()
    ),
)

SUSPECTS = {
    "A": ("prefix-sums", wrong_pld(tail="earlier")[0]),
    "B": ("inverse-permutation", wrong_pld(gather="inverse")[0]),
    "C": ("weights-not-permuted", wrong_pld(weights_order="class")[0]),
}
OPTIONS = (
    "tail-ascending",
    "prefix-sums",
    "inverse-permutation",
    "order-by-student",
    "weights-not-permuted",
    "weights-sorted",
)
LOOK_AT = {
    "A": "Over which ranks does np.logaddexp.accumulate(s) run at rank k?",
    "B": "What does argsort of an argsort hold: classes or ranks?",
    "C": "Its student is in rank order when it is multiplied. In which order is its teacher?",
}


def _not_guilty(letter: str, name: str) -> Mistake:
    """A wrong name for a suspect, answered with what both print on one case."""
    case = next(c for c in cases() if c.id == "label-is-bottom")
    inputs = case.student_logits, case.teacher_logits, case.labels
    accused = wrong_pld(**BY_NAME[name].variants[0])[0]
    return wrong(f"{letter}-is-not-{name}", {letter: name})(
        f"On the case {case.id} suspect {letter} prints {SUSPECTS[letter][1](*inputs):.6f}, and "
        f"{name} would print {accused(*inputs):.6f}.",
        LOOK_AT[letter],
    )


SUSPECTS_NAMED = Values(
    heading="11.2 three suspects · core · 10 minutes",
    right={letter: name for letter, (name, _) in SUSPECTS.items()},
    options=OPTIONS,
    hint="Read it line by line against the formula.",
    praise="All three named. The cell below asks the checker for its opinion.",
    mistakes=tuple(
        _not_guilty(letter, name)
        for letter, (guilty, _) in SUSPECTS.items()
        for name in OPTIONS
        if name != guilty
    ),
)

MEND_IT = Code(
    heading="11.3 three faults in seven lines · core · 12 minutes",
    test=passes_check_loss("torch", convert=torch.as_tensor, strict="teacher-not-detached"),
    praise="The checker finds no mistake. One fault changed values, one gradients, one somebody "
    "else's gradients.",
    mistakes=(
        wrong(
            "temperature-squared + gradient-wrong + teacher-not-detached",
            wrong_torch_pld(squared=True, frozen_tails=True, detached=False),
        )("", "Nothing is mended yet. Start with the value."),
        wrong(
            "gradient-wrong + teacher-not-detached",
            wrong_torch_pld(frozen_tails=True, detached=False),
        )("", "The values are right now. What does detach() do to the gradient of the tails?"),
        wrong("gradient-wrong", wrong_torch_pld(frozen_tails=True))(
            "", "A detach() belongs to the teacher; who else is detached?"
        ),
        wrong("teacher-not-detached", wrong_torch_pld(detached=False))(
            "", "Detach the teacher's logits in the first line."
        ),
        wrong("temperature-squared", wrong_torch_pld(squared=True))(
            "", "The factor comes from KD, where it keeps gradients of equal size."
        ),
    ),
)

Entries = Sequence[dict[str, Any]]
Numbers = Mapping[str, Any]


def _failing_if(fails: Callable[..., bool], missing_fails: bool = True) -> Callable[..., set[str]]:
    """A loop over the cases; ``fails(error, absolute, relative)`` decides about a number."""

    def failing(cases: Entries, numbers: Numbers) -> set[str]:
        bad = set()
        for case in cases:
            if case["id"] not in numbers:
                bad |= {case["id"]} if missing_fails else set()
                continue
            error, tolerance = (
                numbers[case["id"]]["loss"] - case["loss"],
                case["tolerance"]["float64"],
            )
            if fails(error, tolerance["absolute"], tolerance["relative"] * abs(case["loss"])):
                bad.add(case["id"])
        return bad

    return failing


_failing = _failing_if(lambda error, absolute, relative: not abs(error) <= absolute + relative)


def _json_cases() -> tuple[tuple[Entries, Numbers], ...]:
    """Three published cases, and numbers that somebody printed for them."""
    wanted = ("base", "spread-pair", "spread-label")
    entries = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
    entries = [entry for entry in entries if entry["id"] in wanted]
    right = {entry["id"]: {"loss": entry["loss"]} for entry in entries}
    base, pair, label = (entry["loss"] for entry in entries)

    def but(changes: dict[str, float]) -> Numbers:
        return right | {name: {"loss": value} for name, value in changes.items()}

    without_pair = {name: value for name, value in right.items() if name != "spread-pair"}
    return (
        (entries, right),
        (entries[:1], but({"base": base + 1e-6})),
        (entries[:1], but({"base": base - 1e-6})),
        (entries[:1], but({"base": base * (1 + 2e-15)})),
        (entries, but({"base": float("nan")})),
        (entries, without_pair),
        (entries, but({"spread-label": label * (1 + 9e-14)})),
        (entries, but({"spread-pair": pair + 5e-14})),
        (entries, but({"base": base + 0.1, "spread-label": float("inf")})),
    )


JUDGE_NUMBERS = Code(
    heading="11.4 a judge in six lines · core · 12 minutes",
    right=_failing,
    cases=_json_cases(),
    praise="This is all that a port to another language needs.",
    mistakes=(
        wrong("nan-passes", _failing_if(lambda error, *allowed: abs(error) > sum(allowed)))(
            "A NaN is not larger than anything, so it is let through.",
            "Ask whether a number is close enough, and let everything else fail.",
        ),
        wrong(
            "missing-passes",
            _failing_if(lambda error, *allowed: not abs(error) <= sum(allowed), False),
        )(
            "A case without a number counts as right.",
            "An implementation that skips the hard cases must not pass.",
        ),
        wrong(
            "half-the-tolerance",
            _failing_if(lambda error, absolute, relative: not abs(error) <= absolute),
            _failing_if(lambda error, absolute, relative: not abs(error) <= relative),
        )(
            "Only the absolute or only the relative tolerance is used.",
            "Allowed is absolute + relative * |loss|.",
        ),
        wrong("one-sided", _failing_if(lambda error, *allowed: not error <= sum(allowed)))(
            "A number may be too small by any amount.", "Take the absolute value of the difference."
        ),
    ),
)

CATCH: dict[str, dict[str, Any]] = {
    "sum-over-batch": {"over_batch": "sum"},
    "temperature-squared": {"tau_power": 2},
    "temperature-inverted": {"weight_temperature": "inverse"},
    "label-not-first": {"label": "sorted"},
    "weights-not-permuted": {"weights_order": "class"},
    "order-by-student": {"sort_by": "student"},
    "renormalised-tail": {"weights": "renormalised tail"},
    "eps-in-log": {"log": "probability", "eps": 1e-8},
}


def _one_small_case(answer: Any) -> Case:
    """The learner's inputs as a case of the checker."""
    if not isinstance(answer, tuple | list) or len(answer) != 4:
        raise NotYet("  Hand in student logits, teacher logits, labels and a temperature.")
    s, t, y, tau = (as_array(part) for part in answer)
    if s is None or t is None or y is None or tau is None:
        raise NotYet("  Logits, labels and temperature must be numbers.")
    if s.ndim != 2 or s.shape != t.shape or y.shape != s.shape[:1]:
        raise NotYet("  Logits have shape [N, C], both of them, and labels [N].")
    if len(s) > 2 or not 2 <= s.shape[1] <= 3:
        raise NotYet("  At most two rows, and two or three classes.")
    if y.dtype.kind not in "iu" or y.min(initial=0) < 0 or y.max(initial=0) >= s.shape[1]:
        raise NotYet(f"  Labels are integers from 0 to {s.shape[1] - 1}.")
    if tau.ndim or not (np.isfinite(s).all() and np.isfinite(t).all() and 0 < tau < np.inf):
        raise NotYet("  Logits must be finite, the temperature a positive number.")
    if any(np.unique(row).size < row.size for row in t):
        raise NotYet("  Let no teacher logits be equal: ties are another story.")
    return as_case(s, t, y, float(tau))


def _test_case(answer: Any) -> str | None:
    """The first mistake that the case does not show, if any."""
    case = _one_small_case(answer)
    inputs = case.student_logits, case.teacher_logits, case.labels, case.temperature
    right = wrong_pld()[0](*inputs)
    for name, changes in CATCH.items():
        if abs(wrong_pld(**changes)[0](*inputs) - right) < 1e-4 * max(1.0, right):
            return f"blind-to-{name}"
    return None


S, T, Y = [[1.0, 0.0, 14.0], [2.0, 0.5, 1.0]], [[0.0, 1.0, -1.0], [0.5, 2.0, -1.0]], [0, 2]
ONE_CASE = Code(
    heading="11.5 one case to catch them all · challenge · 14 minutes",
    test=_test_case,
    praise="One case shows all eight. To tell them *apart*, and their pairs, takes more: the "
    "published file has 31.",
    mistakes=(
        wrong("blind-to-sum-over-batch", (S[:1], T[:1], Y[:1], 2.0))(
            "With one row, sum and mean are the same.", "Two rows are allowed."
        ),
        wrong("blind-to-temperature-squared", (S, T, Y, 1.0))(
            "At temperature 1 nobody sees what a temperature does.", "Take another temperature."
        ),
        wrong("blind-to-label-not-first", (S, T, [1, 1], 2.0))(
            "The label is the teacher's first guess in both rows, so it is first anyway.",
            "Let the teacher disagree with the label.",
        ),
        wrong(
            "blind-to-order-by-student",
            ([[14.0, 0.0, 1.0]] * 2, [[1.0, -1.0, 0.0]] * 2, [1, 1], 2.0),
        )(
            "Behind the label, student and teacher agree on the order.",
            "Let them disagree about the other classes.",
        ),
        wrong("blind-to-eps-in-log", ([[1.0, 0.0, 2.0], [2.0, 0.5, 1.0]], T, Y, 2.0))(
            "An eps of 1e-8 drowns only what is as improbable as that.",
            "Give the student a class that it finds nearly impossible, and let it be asked for.",
        ),
    ),
)

EXERCISES = (READ_A_REPORT, SUSPECTS_NAMED, MEND_IT, JUDGE_NUMBERS, ONE_CASE)
