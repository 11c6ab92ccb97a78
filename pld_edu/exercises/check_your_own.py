"""Exercises for notebook 11: read a report, name mistakes, repair a loss, design a case.

The wrong losses are those of the notebook: a wrong guess is answered with their numbers.
"""

from typing import Any

import numpy as np

from pld_edu.check import Case, cases
from pld_edu.check.engine import Mistake, as_array
from pld_edu.check.pld import MISTAKES

from .calling import NotYet
from .kinds import Code, Values, wrong
from .numpy_to_pytorch import LOST_DIGITS, passes_as_whole, wrong_torch_pld
from .pld_losses import as_case, wrong_pld

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

WRONG_LOSSES = {
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


def _not_this(letter: str, name: str) -> Mistake:
    """A wrong name for a loss, answered with what both print on one case."""
    case = next(c for c in cases() if c.id == "label-is-bottom")
    inputs = case.student_logits, case.teacher_logits, case.labels
    named = wrong_pld(**MISTAKES[name][0])[0]
    return wrong(f"{letter}-is-not-{name}", {letter: name})(
        f"On the case {case.id} loss {letter} prints {WRONG_LOSSES[letter][1](*inputs):.6f}, and "
        f"{name} would print {named(*inputs):.6f}.",
        LOOK_AT[letter],
    )


MISTAKES_NAMED = Values(
    heading="11.2 three wrong losses · core · 10 minutes",
    right={letter: name for letter, (name, _) in WRONG_LOSSES.items()},
    options=OPTIONS,
    hint="Read it line by line against the formula.",
    praise="All three named. The cell below asks the checker for its opinion.",
    mistakes=tuple(
        _not_this(letter, name)
        for letter, (right, _) in WRONG_LOSSES.items()
        for name in OPTIONS
        if name != right
    ),
)

FAULTS = "times tau squared", "tails detached", "teacher not detached"
UNTOUCHED = wrong_torch_pld(*FAULTS)
REPAIR_IT = Code(
    heading="11.3 four faults in seven lines · core · 12 minutes",
    test=passes_as_whole,
    praise="One changed values, one gradients, one the teacher's gradients, one the last digits.",
    mistakes=(
        wrong("temperature-squared + gradient-wrong + teacher-not-detached", UNTOUCHED)(
            "", "Nothing is repaired yet. Start with the value."
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
        LOST_DIGITS,
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
    heading="11.4 one case to catch them all · challenge · 14 minutes",
    test=_test_case,
    praise="One case shows all eight. To tell them *apart* takes more: the published file has 31.",
    mistakes=tuple(
        wrong(f"blind-to-{name}", *BLIND.get(name, []))(
            "On your case this wrong loss is right.", hint
        )
        for name, hint in EIGHT.items()
    ),
)

EXERCISES = (READ_A_REPORT, MISTAKES_NAMED, REPAIR_IT, ONE_CASE)
