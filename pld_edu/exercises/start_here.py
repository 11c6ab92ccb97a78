"""Exercises for notebook 00: read a bill, say why, find a student on a budget."""

from typing import Any

import numpy as np

from pld_edu import reference
from pld_edu.check.engine import as_array

from .calling import NotYet
from .kinds import Code, Values, Words, wrong, wrong_options

SHIBA = np.log([1, 2, 3, 4]), 2  # the teacher's logits for car, cat, dog, fox; the label is dog
WEIGHTS, SHARES = np.array([0.3, 0.4, 0.2, 0.1]), np.array([1 / 2, 1 / 4, 4 / 5, 1])
COSTS = -np.log(SHARES)

READ_A_BILL = Values(
    heading="00.1 read a bill · warm-up · 5 minutes",
    right={"dearest": "fox", "bill": WEIGHTS @ COSTS, "saved": 0.4 * np.log(2)},
    options=("dog", "fox", "cat", "car"),
    rtol=0.1,
    hint="An item of the bill is weight times cost, and a cost is -ln of the student's share.",
    praise="The fox is two thirds of the bill, although the label is dog.",
    mistakes=(
        wrong("label-is-dearest", dearest="dog")(
            "The dog costs 0.3 times 0.7.", "Multiply each weight by its cost and compare."
        ),
        wrong("weights-forgotten", bill=COSTS.sum(), saved=np.log(2))(
            "Costs were used without their weights.", "How much does each choice count?"
        ),
    ),
)

WHY_A_TEACHER = Words(
    heading="00.2 say why · core · 8 minutes",
    right={"belongs": frozenset("acdf")},
    options="abcdef",
    hint="Compare with the bill: what is asked, in which order, and how much does each item count?",
    praise="For example: the label names one class; the teacher also says which wrong classes are "
    "nearly right. PLD asks for that order, label first, and lets the teacher weigh each choice.",
    mistakes=wrong_options(
        a="This is the reason to have a teacher at all.",
        b="Matching the probabilities is what KD asks for; PLD asks for an order.",
        c="The label is always chosen first, also where the teacher prefers another class.",
        d="The weights are the teacher's probabilities.",
        e="Every class is chosen at some point, however little the teacher thinks of it.",
        f="The later choices have costs of their own when the label's is already 0.",
    ),
)


def _test_budget(answer: Any) -> str | None:
    """Whether four logits in -2 to 2 bring the Shiba Inu's bill below 0.245."""
    s = as_array(answer)
    if s is None or s.shape != (4,) or not np.isfinite(s).all():
        raise NotYet("  Hand in four logits, for car, cat, dog and fox.")
    if np.abs(s).max() > 2:
        return "A logit lies outside -2 to 2: that is the budget."
    bill = reference.pld_loss(s.astype(float), *SHIBA)
    if bill <= 0.245:
        return None
    if s.argmax() != SHIBA[1]:
        return "label-not-first"
    return "even-gaps" if np.allclose(np.diff(np.sort(s)), 4 / 3) else f"The bill is {bill:.4f}."


BUDGET = Code(
    heading="00.3 a student on a budget · challenge · 10 minutes",
    test=_test_budget,
    praise="Wide gaps where the weight is, narrow ones where little is at stake.",
    mistakes=(
        wrong("label-not-first", [-2.0, -0.7, 0.7, 2.0])(
            "The largest logit is not the label's.", "Which class is chosen first in PLD?"
        ),
        wrong("even-gaps", [-2.0, -2 / 3, 2.0, 2 / 3])(
            "The order is right, with three equal gaps: 0.2521.",
            "Which of the three gaps decides little, so that it may be narrower?",
        ),
    ),
)

EXERCISES = (READ_A_BILL, WHY_A_TEACHER, BUDGET)


def _test_order(answer: Any) -> str | None:
    names = [str(name).strip().lower() for name in answer] if np.iterable(answer) else []
    if sorted(names) != ["car", "cat", "dog", "fox"]:
        return 'Hand in a list of the four names "car", "cat", "dog" and "fox", each once.'
    if names == ["dog", "fox", "cat", "car"]:
        return None
    known = [mistake.name for mistake in ORDER.mistakes if mistake.variants[0] == names]
    return known[0] if known else "Which class is the label? Which other has the largest weight?"


ORDER = Code(
    heading="00.a order the classes",
    test=_test_order,
    praise="The label first, then the others as the teacher has them.",
    mistakes=(
        wrong("label-not-first", ["fox", "dog", "cat", "car"])(
            "This is the teacher's own order.", "What does the label say about the first place?"
        ),
        wrong("rising", ["dog", "car", "cat", "fox"])(
            "The others stand with the least probable first.", "The best of them comes second."
        ),
        wrong("students-order", ["dog", "cat", "fox", "car"])(
            "This is the student's order.", "The student is to learn the teacher's."
        ),
    ),
)

WEIGHT = Values(
    heading="00.b weight of rank 2",
    right={"weight_2": 0.4},
    hint="Which class is at rank 2, and what probability does the teacher give to it?",
    praise="Fox counts 0.4, more than dog with 0.3: no weight is changed by the sorting.",
    mistakes=(
        wrong("sorted-weights", 0.3)(
            "This is the second largest probability, and dog's.", "The weight goes with its class."
        ),
        wrong("student-weight", 2 / 12)(
            "This is the student's probability of fox.", "The teacher's is wanted."
        ),
        wrong("scaled-again", 0.4 / 0.7, 4 / 7)(
            "This is the teacher's probability among the classes that are left.",
            "Weights are taken from all four classes, and not scaled again.",
        ),
    ),
)

PAY = Values(
    heading="00.c pay for choice 3",
    right={"pay_3": 0.2 * np.log(4 / 3)},
    hint="Its share is 3/4, its cost minus the logarithm of that. What is its weight?",
    praise="A likely answer costs little, and its weight is small: 0.058 of the bill.",
    mistakes=(
        wrong("weight-forgotten", np.log(4 / 3))(
            "This is the cost, before it is weighted.", "Multiply it by the weight of choice 3."
        ),
        wrong("sign", 0.2 * np.log(3 / 4))("A cost is positive.", "It is minus the logarithm."),
        wrong("all-still-there", 0.2 * np.log(4))(
            "This is cat among all four: 3 of 12.", "Dog and fox are gone. Who is left?"
        ),
        wrong("other-logarithm", 0.2 * np.log10(4 / 3), 0.2 * np.log2(4 / 3))(
            "This is another logarithm.", "ln is the natural one: np.log."
        ),
    ),
)

FILL_INS = (ORDER, WEIGHT, PAY)
