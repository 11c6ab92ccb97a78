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
from pld_edu.check.pld import MISTAKES

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
    praise="One letter: the weights have to be the teacher's, softmax(t / temperature).",
    mistakes=tuple(
        wrong(f"line-{line}-is-right", line)(
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
    accused = wrong_pld(**MISTAKES[name][0])[0]
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

FAULTS = "times tau squared", "tails detached", "teacher not detached"
UNTOUCHED = wrong_torch_pld(*FAULTS)
MEND_IT = Code(
    heading="11.3 three faults in seven lines · core · 12 minutes",
    test=passes_check_loss("torch", convert=torch.as_tensor, strict="teacher-not-detached"),
    praise="One fault changed values, one gradients, one the teacher's gradients.",
    mistakes=(
        wrong("temperature-squared + gradient-wrong + teacher-not-detached", UNTOUCHED)(
            "", "Nothing is mended yet. Start with the value."
        ),
        wrong("gradient-wrong + teacher-not-detached", wrong_torch_pld(*FAULTS[1:]))(
            "", "The values are right now. What does detach() do to the gradient of the tails?"
        ),
        wrong("gradient-wrong", wrong_torch_pld(FAULTS[1]))(
            "", "A detach() belongs to the teacher; who else is detached?"
        ),
        wrong("teacher-not-detached", wrong_torch_pld(FAULTS[2]))(
            "", "Detach the teacher's logits in the first line."
        ),
        wrong("temperature-squared", wrong_torch_pld(FAULTS[0]))(
            "", "The factor comes from KD, where it keeps gradients of equal size."
        ),
    ),
)

Entries = Sequence[dict[str, Any]]
Numbers = Mapping[str, Any]


def _failing(
    limit: Callable[[float, float], float] = lambda absolute, relative: absolute + relative,
    size: Callable[[float], float] = abs,
    nan_fails: bool = True,
    missing_fails: bool = True,
) -> Callable[[Entries, Numbers], set[str]]:
    """The function that is asked for, or one with another rule in it."""

    def failing(cases: Entries, numbers: Numbers) -> set[str]:
        bad = set()
        for case in cases:
            if case["id"] not in numbers:
                bad |= {case["id"]} if missing_fails else set()
                continue
            error = size(numbers[case["id"]]["loss"] - case["loss"])
            tolerance = case["tolerance"]["float64"]
            allowed = limit(tolerance["absolute"], tolerance["relative"] * abs(case["loss"]))
            if error > allowed or (nan_fails and np.isnan(error)):
                bad.add(case["id"])
        return bad

    return failing


def _json_cases() -> tuple[tuple[Entries, Numbers], ...]:
    """Three published cases, and numbers that somebody printed for them."""
    wanted = ("base", "spread-pair", "spread-label")
    entries = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
    entries = [entry for entry in entries if entry["id"] in wanted]
    base, pair, label = (entry["loss"] for entry in entries)
    printed = [
        (base, pair, label),
        (base + 1e-6,),
        (base - 1e-6,),
        (base * (1 + 2e-15),),
        (float("nan"), pair, label),
        (base, None, label),
        (base, pair, label * (1 + 9e-14)),
        (base, pair + 5e-14, label),
        (base + 0.1, pair, float("inf")),
    ]
    return tuple(
        (
            entries[: len(losses)],
            {e["id"]: {"loss": x} for e, x in zip(entries, losses, strict=False) if x is not None},
        )
        for losses in printed
    )


JUDGE_NUMBERS = Code(
    heading="11.4 a judge in six lines · core · 12 minutes",
    right=_failing(),
    cases=_json_cases(),
    praise="This is all that a port to another language needs.",
    mistakes=(
        wrong("nan-passes", _failing(nan_fails=False))(
            "NaN > limit is False, so a NaN passes.", "Ask if a number is close enough."
        ),
        wrong("missing-passes", _failing(missing_fails=False))(
            "A case without a number counts as right.", "A port must not skip hard cases."
        ),
        wrong("half-the-tolerance", _failing(lambda a, r: a), _failing(lambda a, r: r))(
            "Only one of two tolerances is used.", "Allowed is absolute + relative * |loss|."
        ),
        wrong("one-sided", _failing(size=float))(
            "A number may be too small by any amount.", "Take the absolute value of the difference."
        ),
    ),
)

EIGHT = {
    "sum-over-batch": "With one row, sum and mean are the same; two rows are allowed.",
    "temperature-squared": "At temperature 1 nobody sees it. Take another temperature.",
    "temperature-inverted": "At temperature 1 nobody sees it. Take another temperature.",
    "label-not-first": "Let the teacher disagree with the label.",
    "weights-not-permuted": "Let the classes not stand in rank order already.",
    "order-by-student": "Let student and teacher disagree about the other classes.",
    "renormalised-tail": "Let the teacher be in doubt about the label.",
    "eps-in-log": "An eps of 1e-8 matters where a probability is as small: ask for such a class.",
}


def _one_small_case(answer: Any) -> Case:
    """The learner's inputs as a case of the checker."""
    if not isinstance(answer, tuple | list) or len(answer) != 4:
        raise NotYet("  Hand in student logits, teacher logits, labels and a temperature.")
    s, t, y, tau = (as_array(part) for part in answer)
    if s is None or t is None or y is None or tau is None or tau.ndim:
        raise NotYet("  Logits and labels must be arrays of numbers, the temperature a number.")
    if s.shape != t.shape or s.shape not in [(1, 2), (1, 3), (2, 2), (2, 3)]:
        raise NotYet("  Logits have shape [N, C], at most two rows and two or three classes.")
    if y.shape != s.shape[:1] or not np.isin(y, np.arange(s.shape[1])).all():
        raise NotYet(f"  Labels have shape [N] and are integers from 0 to {s.shape[1] - 1}.")
    if not (np.isfinite([s, t]).all() and 0 < tau < np.inf) or (np.diff(np.sort(t)) == 0).any():
        raise NotYet("  Logits are finite, the teacher's all different, the temperature positive.")
    return as_case(s, t, y.astype(int), float(tau))


def _test_case(answer: Any) -> str | None:
    """The first mistake that the case does not show, if any."""
    case = _one_small_case(answer)
    inputs = case.student_logits, case.teacher_logits, case.labels, case.temperature
    right = wrong_pld()[0](*inputs)
    for name in EIGHT:
        changes = MISTAKES[name][0]
        changes = {"log": "probability", "eps": 1e-8} if name == "eps-in-log" else changes
        if abs(wrong_pld(**changes)[0](*inputs) - right) < 1e-4 * max(1.0, right):
            return f"blind-to-{name}"
    return None


S, T, Y = [[1.0, 0.0, 14.0], [2.0, 0.5, 1.0]], [[0.0, 1.0, -1.0], [0.5, 2.0, -1.0]], [0, 2]
BLIND: dict[str, list[Any]] = {
    "sum-over-batch": [(S[:1], T[:1], Y[:1], 2.0)],
    "temperature-squared": [(S, T, Y, 1.0)],
    "label-not-first": [(S, T, [1, 1], 2.0)],
    "weights-not-permuted": [([[1.0, 0.0, 14.0]] * 2, [[0.0, 2.0, 1.0]] * 2, [0, 0], 2.0)],
    "order-by-student": [([[14.0, 0.0, 1.0]] * 2, [[1.0, -1.0, 0.0]] * 2, [1, 1], 2.0)],
    "eps-in-log": [([[1.0, 0.0, 2.0], S[1]], T, Y, 2.0)],
}
ONE_CASE = Code(
    heading="11.5 one case to catch them all · challenge · 14 minutes",
    test=_test_case,
    praise="One case shows all eight. To tell them *apart* takes more: the published file has 31.",
    mistakes=tuple(
        wrong(f"blind-to-{name}", *BLIND.get(name, []))(
            "On your case this wrong loss is right.", hint
        )
        for name, hint in EIGHT.items()
    ),
)

EXERCISES = (READ_A_REPORT, SUSPECTS_NAMED, MEND_IT, JUDGE_NUMBERS, ONE_CASE)
