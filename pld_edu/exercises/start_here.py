"""Exercises for notebook 00: the bill of one photo."""

from typing import Any

import numpy as np

from .kinds import Code, Values, wrong

EXERCISES: tuple[Values | Code, ...] = ()


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

FILL_INS: tuple[Values | Code, ...] = (ORDER, WEIGHT, PAY)
