"""Exercises for notebook 05: the weights that make other losses of PLD."""

from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from pld_edu import reference

from .calling import Floats
from .kinds import Code, Values, wrong, wrong_options

PUSHES = Values(
    heading="05.1 which loss pushed? · warm-up · 8 minutes",
    right=dict(zip("ABCDE", ("ListMLE", "CE", "PLD", "P-ListMLE", "weighted CE"), strict=True)),
    options=("PLD", "weighted CE", "CE", "ListMLE", "P-ListMLE"),
    hint="At s = 0 the label is pushed by 2/3 of its weight. Read the weights off in rank order.",
    praise="One formula, five names: a push at s = 0 tells the weights, and the weights the loss.",
    mistakes=(
        wrong("same-label-push", {"C": "weighted CE"}, {"E": "PLD"})(
            "C and E push the label alike; they differ in what they do to the others.",
            "Cross-entropy treats all other classes alike at s = 0. Which of the two rows does?",
        ),
        wrong("one-weight-forgotten", {"B": "weighted CE"}, {"E": "CE"})(
            "Both push one class only against all others.", "What is the label's weight in each?"
        ),
    ),
)

TEACHERS = Values(
    heading="05.2 which weights has a teacher · core · 8 minutes",
    right={"possible": frozenset("acf")},
    options="abcdefg",
    hint="A softmax is positive and sums to 1, and after the label the ranking is by its size.",
    praise="From such a vector the teacher is known, up to a constant: t = log(alpha) by rank.",
    mistakes=wrong_options(
        a="The label's weight need not be the largest; only ranks 2, 3, 4 are sorted.",
        b="Rank 3 weighs more than rank 2, but the teacher would have ranked that one first.",
        c="Four equal logits give it; a rule for ties makes the ranking.",
        d="P-ListMLE's last weight is 0, and exp(t) is 0 for no finite t.",
        e="These weights sum to 0.95.",
        f="This teacher is sure of a class that is not the label; it happens.",
        g="Cross-entropy is a limit: a finite teacher always leaves something to the others.",
    ),
)


def _repaired(label_first: bool, scaled: int, from_one: int) -> Any:
    """The notebook's broken P-ListMLE with some of its three bugs repaired."""

    def loss(s: Floats, t: Floats, y: int) -> float:
        alpha = 2.0 ** (len(s) - np.arange(len(s)) - from_one) - 1
        alpha = alpha / alpha.sum() if scaled else alpha
        return float(reference.pld_loss(s, t, y if label_first else t.argmax(), weights=alpha))

    return loss


REPAIR = Code(
    heading="05.3 a broken P-ListMLE · core · 12 minutes",
    right=lambda s, t, y: reference.position_list_mle(s, t, y),
    cases=(
        (np.array([0.0, 1.0, -1.0]), np.array([1.0, 2.0, 0.0]), 0),
        (np.log([1.0, 3.0, 6.0, 2.0]), np.log([1.0, 2.0, 3.0, 4.0]), 2),
        (np.array([0.3, -1.2, 2.0, 0.7, 0.0]), np.array([0.5, 2.0, -1.0, 1.0, -2.0]), 3),
        (np.array([2.0, -1.0, 0.5]), np.array([-1.0, 0.0, 3.0]), 0),
    ),
    praise="With all three bugs it would have trained: nothing crashed, nothing was nan.",
    mistakes=(
        wrong("label-not-first", *(_repaired(False, *rest) for rest in product((0, 1), repeat=2)))(
            "The ranking is the teacher's own.", "reference.teacher_ranking takes the label."
        ),
        wrong("not-scaled", _repaired(True, False, True), _repaired(True, False, False))(
            "The weights do not sum to 1.", "For three classes they are 3/4, 1/4, 0."
        ),
        wrong("ranks-from-zero", _repaired(True, True, False))(
            "The last weight is not 0.", "range(C) starts at 0, the formula's k at 1."
        ),
    ),
)


def louder(t: Floats, y: int, floor: float) -> Floats:
    """PLD's weights with the label's raised to `floor` where it is smaller."""
    return _label_weighs(t, y, max(softmax(t)[y], floor))


def _label_weighs(t: Floats, y: int, weight: float) -> Floats:
    alpha = reference.rank_weights(t, reference.teacher_ranking(t, y))
    alpha[0] = weight
    return alpha


def _in_class_order(t: Floats, y: int, floor: float) -> Floats:
    return np.where(np.arange(len(t)) == y, np.maximum(softmax(t), floor), softmax(t))


FLOOR = Code(
    heading="05.4 a floor for the label · core · 10 minutes",
    right=louder,
    cases=(
        (np.log([2.0, 5.0, 3.0]), 2, 0.5),
        (np.log([2.0, 5.0, 3.0]), 1, 0.4),
        (np.array([20.0, 0.0, -20.0]), 2, 0.25),
        (np.array([0.5, 2.0, -1.0, 1.0]), 3, 0.3),
    ),
    praise="A sum of two members of the family is a member: this is PLD plus some cross-entropy.",
    mistakes=(
        wrong("class-order", _in_class_order)(
            "The weights come in class order.", "reference.rank_weights gives them in rank order."
        ),
        wrong("always-set", _label_weighs)(
            "The floor also lowers the label's weight.", "It holds from below only."
        ),
        wrong("renormalised", lambda *case: louder(*case) / louder(*case).sum())(
            "The label falls below its floor again.", "Weights need not sum to 1."
        ),
    ),
)


def temperature_for(t: Floats, y: int, weight: float) -> float:
    """Teacher temperature at which the label's weight is `weight`; it lies in 0.05 to 50."""

    def excess(log_tau: float) -> float:
        return float(softmax(t / np.exp(log_tau))[y]) - weight

    return float(np.exp(brentq(excess, np.log(0.05), np.log(50), xtol=1e-14)))


def _one_rival(t: Floats, y: int, weight: float) -> float:
    return (t[y] - np.delete(t, y).max()) / np.log(weight / (1 - weight))


TEMPERATURE = Code(
    heading="05.5 a temperature for a weight · challenge · 20 minutes",
    right=temperature_for,
    cases=(
        (np.array([2.0, 0.0, 0.0]), 0, 0.6),
        (np.array([6.0, 3.0, 1.0, 0.0]), 0, 0.7),
        (np.array([0.0, 10.0, 4.0, 4.0, 2.0]), 1, 0.4),
        (np.array([3.0, 1.0, -1.0]), 2, 0.2),
    ),
    rtol=1e-5,
    praise="Compare teachers by the weight they leave the label, not by their temperature.",
    mistakes=(
        wrong("inverse", lambda t, y, weight: 1 / temperature_for(t, y, weight))(
            "This is 1 / tau.", "PLD divides the teacher's logits by tau."
        ),
        wrong("two-classes-only", _one_rival)(
            "Only one rival of the label is counted.", "All others share in the softmax."
        ),
    ),
)

EXERCISES = (PUSHES, TEACHERS, REPAIR, FLOOR, TEMPERATURE)

SLOPE = Values(
    heading="05.a the slope at the label",
    right={"slope": 0.1 * (0.5 - 1)},
    hint="Weight of choice 1, times the slope of cross-entropy.",
    praise="A tenth of cross-entropy's, because the teacher gives the label a tenth.",
    mistakes=(
        wrong("weight-forgotten", 0.5 - 1.0)(
            "This is cross-entropy's slope.", "By which weight is choice 1 multiplied?"
        ),
        wrong("sign-turned", 0.05)(
            "This is the push, minus the slope.", "The label wants to go up: the loss falls there."
        ),
        wrong("kd", 0.5 - 0.1)(
            "This is KD's slope, student minus teacher.", "PLD asks choice 1 for the label."
        ),
    ),
)

TOSS_UP = Values(
    heading="05.b the toss-up",
    right={"push_fox": 1 / 3, "push_cat": 1 / 12},
    hint="Choice 2 is made among fox, cat and car, choice 3 among cat and car.",
    praise="If cat overtakes fox, the two numbers change places: a jump of 1/4.",
    mistakes=(
        wrong("label-still-there", push_fox=3 / 8, push_cat=-1 / 8 + 1 / 3)(
            "Dog still takes part in choices 2 and 3.", "It left after choice 1."
        ),
        wrong("one-choice-only", push_cat=-1 / 6)(
            "This is what choice 2 does to cat.", "Choice 3 asks for cat."
        ),
        wrong("sign-turned", push_fox=-1 / 3, push_cat=-1 / 12)(
            "These are slopes.", "A push is minus the slope."
        ),
    ),
)

FILL_INS = (SLOPE, TOSS_UP)
