"""Exercises for notebook 11: read a report, name mistakes, mend a loss, design a case.

The suspects are those of the notebook, so that a wrong guess can be answered with its numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pld_edu.check import Case, cases
from pld_edu.check.findings import BY_NAME
from pld_edu.check.recipes import Recipe, loss

from .calling import NotYet, as_array
from .json_judge import JUDGE_NUMBERS
from .kinds import AnswerExercise, JudgedExercise, LossExercise, Mistake

READ_A_REPORT = AnswerExercise(
    title="11.1 read a report",
    level="warm-up",
    minutes=5,
    right=4,
    hint="the line number is a whole number from 1 to 7.",
    then="one letter: the weights are the teacher's, softmax(t / temperature). This student says "
    "for itself which choices matter.",
    mistakes=(
        Mistake(
            "line-1",
            1,
            "the label's key is infinity, which puts the label first: as it should be.",
            "The report does not complain about the ranking.",
        ),
        Mistake(
            "line-2",
            2,
            "the sort finds the ranking, favourite first, and keeps ties in order: right.",
            "The report does not complain about the ranking.",
        ),
        Mistake(
            "line-3",
            3,
            "both rows are brought into the order of the ranking: as it should be.",
            "Whose softmax does the report speak of, and in which line is it taken?",
        ),
        Mistake(
            "line-5",
            5,
            "a running logsumexp from the end is the tail of each rank: right.",
            "The report speaks of the weights.",
        ),
        Mistake(
            "line-6",
            6,
            "weights times tails minus logits, summed over the ranks: as it should be.",
            "The report speaks of where the weights come from.",
        ),
        Mistake(
            "line-7",
            7,
            "PLD is the mean over the batch: right.",
            "The report speaks of the weights.",
        ),
    ),
)

SUSPECTS = {
    "A": Recipe(tail="earlier"),
    "B": Recipe(gather="inverse"),
    "C": Recipe(weights_order="class"),
}
GUILTY = {"A": "prefix-sums", "B": "inverse-permutation", "C": "weights-not-permuted"}
OPTIONS = (
    "tail-ascending",
    "prefix-sums",
    "inverse-permutation",
    "order-by-student",
    "weights-not-permuted",
    "weights-sorted",
)


def _one_wrong(letter: str, name: str) -> dict[str, str]:
    return GUILTY | {letter: name}


SUSPECT_MISTAKES = (
    Mistake(
        "A-is-not-tail-ascending",
        _one_wrong("A", "tail-ascending"),
        "suspect A ranks the classes as it should; it is a sum that runs the wrong way.",
        "Over which ranks does np.logaddexp.accumulate(s) run at rank k?",
    ),
    Mistake(
        "B-is-not-order-by-student",
        _one_wrong("B", "order-by-student"),
        "suspect B never looks at the student when it sorts.",
        "What does argsort of an argsort hold: classes or ranks?",
    ),
    Mistake(
        "C-is-not-weights-sorted",
        _one_wrong("C", "weights-sorted"),
        "suspect C sorts nothing but the ranking.",
        "Its student is in rank order when it is multiplied. In which order is its teacher?",
    ),
)


def _prints(recipe: Recipe, case: Case) -> float:
    return float(loss(recipe, case).real)


def _judge_suspects(answer: Any) -> str | None:
    """Whether the three names are right; a wrong one is answered with numbers."""
    if not isinstance(answer, Mapping) or set(answer) != set(GUILTY):
        return 'Hand in a dictionary {"A": ..., "B": ..., "C": ...}.'
    for letter, name in answer.items():
        if name is ...:
            raise NotYet(f"  Suspect {letter} is not named yet.")
        if name not in OPTIONS:
            return f"Suspect {letter}: choose from {', '.join(OPTIONS)}; got {name!r}."
    for letter, guilty in GUILTY.items():
        named = answer[letter]
        if named == guilty:
            continue
        confused = f"{letter}-is-not-{named}"
        if confused in [m.name for m in SUSPECT_MISTAKES]:
            return confused
        known = next(BY_NAME[named].recipes(Recipe()))
        case = next(c for c in cases() if c.id == "label-is-bottom")
        return (
            f"Suspect {letter} is not {named}: on the case {case.id} it prints "
            f"{_prints(SUSPECTS[letter], case):.6f}, and {named} would print "
            f"{_prints(known, case):.6f}. Read {letter} line by line against the formula."
        )
    return None


SUSPECTS_NAMED = JudgedExercise(
    title="11.2 three suspects",
    level="core",
    minutes=10,
    verdict=_judge_suspects,
    mistakes=SUSPECT_MISTAKES,
    then="all three named. The cell below asks the checker for its opinion.",
)

TorchLoss = Callable[..., torch.Tensor]


def _torch_pld(
    *, squared: bool = False, frozen_tails: bool = False, detached: bool = True
) -> TorchLoss:
    """The loss of the notebook's exercise, with some of its three faults left in."""

    def pld(
        student_logits: torch.Tensor,
        teacher_logits: torch.Tensor,
        labels: torch.Tensor,
        temperature: float = 1.0,
    ) -> torch.Tensor:
        teacher = teacher_logits.detach() if detached else teacher_logits
        keys = teacher.scatter(1, labels[:, None], torch.inf)
        order = keys.argsort(dim=1, descending=True, stable=True)
        s, t = student_logits.gather(1, order), teacher.gather(1, order)
        alpha = torch.softmax(t / temperature, dim=1)
        tails = s.flip(1).logcumsumexp(1).flip(1)
        if frozen_tails:
            tails = tails.detach()
        value = (alpha * (tails - s)).sum(1).mean()
        return temperature**2 * value if squared else value

    return pld


def _no_grad(*arguments: Any, temperature: float = 1.0) -> torch.Tensor:
    with torch.no_grad():
        return _torch_pld()(*arguments, temperature=temperature)


MEND_IT = LossExercise(
    title="11.3 three faults in seven lines",
    level="core",
    minutes=12,
    framework="torch",
    strict=("teacher-not-detached",),
    then="One fault changed values, one gradients, one somebody else's gradients.",
    mistakes=(
        Mistake(
            "temperature-squared + gradient-wrong + teacher-not-detached",
            _torch_pld(squared=True, frozen_tails=True, detached=False),
            hint="Nothing is mended yet. Start with the value.",
        ),
        Mistake(
            "gradient-wrong + teacher-not-detached",
            _torch_pld(frozen_tails=True, detached=False),
            hint="The values are right now. What does a detach() do to the tails' part of the "
            "gradient?",
        ),
        Mistake(
            "gradient-wrong",
            _torch_pld(frozen_tails=True),
            hint="A detach() belongs to the teacher; who else is detached?",
        ),
        Mistake(
            "teacher-not-detached",
            _torch_pld(detached=False),
            hint="Detach the teacher's logits in the first line.",
        ),
        Mistake(
            "no-gradient",
            _no_grad,
            hint="no_grad() around everything protects the teacher and silences the student.",
        ),
        Mistake(
            "temperature-squared",
            _torch_pld(squared=True),
            hint="The factor comes from KD, where it keeps gradients of equal size.",
        ),
    ),
)

CATCH = {
    "sum-over-batch": Recipe(over_batch="sum"),
    "temperature-squared": Recipe(tau_power=2),
    "temperature-inverted": Recipe(weight_temperature="inverse"),
    "label-not-first": Recipe(label="sorted"),
    "weights-not-permuted": Recipe(weights_order="class"),
    "order-by-student": Recipe(sort_by="student"),
    "renormalised-tail": Recipe(weights="renormalised tail"),
    "eps-in-log": Recipe(log="probability", eps=1e-8),
}
SEEN = 1e-4


def _as_case(answer: Any) -> Case:
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
    return replace(
        cases()[0],
        student_logits=s.astype(float),
        teacher_logits=t.astype(float),
        labels=y,
        temperature=float(tau),
    )


def _judge_case(answer: Any) -> str | None:
    """The first mistake that the case does not show, if any."""
    case = _as_case(answer)
    right = _prints(Recipe(), case)
    for name, recipe in CATCH.items():
        if abs(_prints(recipe, case) - right) < SEEN * max(1.0, right):
            return f"blind-to-{name}"
    return None


S, T, Y = [[1.0, 0.0, 14.0], [2.0, 0.5, 1.0]], [[0.0, 1.0, -1.0], [0.5, 2.0, -1.0]], [0, 2]
ONE_CASE = JudgedExercise(
    title="11.5 one case to catch them all",
    level="challenge",
    minutes=14,
    verdict=_judge_case,
    then="one case shows all eight. To tell them *apart*, and their pairs, takes more: the "
    "published file has 31.",
    mistakes=(
        Mistake(
            "blind-to-sum-over-batch",
            (S[:1], T[:1], Y[:1], 2.0),
            "with one row, sum and mean are the same.",
            "Two rows are allowed.",
        ),
        Mistake(
            "blind-to-temperature-squared",
            (S, T, Y, 1.0),
            "at temperature 1 nobody sees what a temperature does.",
            "Take another temperature.",
        ),
        Mistake(
            "blind-to-label-not-first",
            (S, T, [1, 1], 2.0),
            "the label is the teacher's first guess in both rows, so it is first anyway.",
            "Let the teacher disagree with the label.",
        ),
        Mistake(
            "blind-to-weights-not-permuted",
            ([[1.0, 0.0, 14.0]] * 2, [[0.0, 2.0, 1.0]] * 2, [0, 0], 2.0),
            "the classes stand in rank order already, so class order and rank order are the same.",
            "Let the label not be class 0, or the teacher's logits not fall with the index.",
        ),
        Mistake(
            "blind-to-order-by-student",
            ([[14.0, 0.0, 1.0]] * 2, [[1.0, -1.0, 0.0]] * 2, [1, 1], 2.0),
            "behind the label, student and teacher agree on the order.",
            "Let them disagree about the other classes.",
        ),
        Mistake(
            "blind-to-eps-in-log",
            ([[1.0, 0.0, 2.0], [2.0, 0.5, 1.0]], T, Y, 2.0),
            "an eps of 1e-8 drowns only what is as improbable as that.",
            "Give the student a class that it finds nearly impossible, and let it be asked for.",
        ),
    ),
)

EXERCISES = (READ_A_REPORT, SUSPECTS_NAMED, MEND_IT, JUDGE_NUMBERS, ONE_CASE)
