"""Exercises for notebook 05: the weights that make other losses of PLD."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, softmax

from pld_edu import reference

from .kinds import FunctionExercise, Mistake
from .parts import ChoicesExercise, PartsExercise

Floats = NDArray[np.float64]

# Worths 2, 5, 3 of the teacher, label 2: ranking 2, 1, 0.
FIVE_T, FIVE_Y = np.log([2.0, 5.0, 3.0]), 2
NAMES = ("teacher", "label", "one-hot", "uniform", "position")
FIVE = tuple(
    reference.rank_weights(FIVE_T, reference.teacher_ranking(FIVE_T, FIVE_Y), weights=name)
    for name in NAMES
)


def _five(part: int, row: list[float]) -> tuple[Floats, ...]:
    """The five right vectors, but for one."""
    return tuple(np.array(row) if i == part else alpha for i, alpha in enumerate(FIVE))


vectors = PartsExercise(
    title="05.1 five vectors",
    level="warm-up",
    minutes=8,
    parts=("pld", "weighted_ce", "ce", "list_mle", "p_list_mle"),
    right=FIVE,
    hint="Weights stand in the order of the ranking, the label's first.",
    then="One formula, five names.",
    mistakes=(
        Mistake(
            "class-order",
            _five(0, [0.2, 0.5, 0.3]),
            "these are the teacher's probabilities in the order of the class indices.",
            "Weight k belongs to the class at rank k; who stands at rank 1?",
        ),
        Mistake(
            "weights-sorted",
            _five(0, [0.5, 0.3, 0.2]),
            "the weights are sorted, but the first is the label's, large or small.",
            "The label goes first whatever the teacher thinks of it.",
        ),
        Mistake(
            "label-weighs-one",
            _five(0, [1.0, 5 / 7, 2 / 7]),
            "the label weighs 1 and the others are rescaled to sum to 1.",
            "PLD takes the teacher's softmax as it is.",
        ),
        Mistake(
            "plain-cross-entropy",
            _five(1, [1.0, 0.0, 0.0]),
            "without the teacher's probability this is plain cross-entropy.",
            "Which number does the teacher give the label?",
        ),
        Mistake(
            "favourites-weight",
            _five(1, [0.5, 0.0, 0.0]),
            "0.5 is what the teacher gives its favourite, which is not the label.",
            "Cross-entropy asks for the label; how much does the teacher believe in it?",
        ),
        Mistake(
            "one-at-the-class-index",
            _five(2, [0.0, 0.0, 1.0]),
            "the 1 stands at the label's class index; weights count ranks.",
            "At which rank is the label?",
        ),
        Mistake(
            "not-divided-by-C",
            _five(3, [1.0, 1.0, 1.0]),
            "with weights 1 it is ListMLE itself; asked for is the vector that sums to 1.",
            "Divide by the number of classes.",
        ),
        Mistake(
            "minus-one-forgotten",
            _five(4, [4 / 7, 2 / 7, 1 / 7]),
            "these are proportional to 2^(C-k); Sec. 4.2 subtracts 1.",
            "What is then the weight of the last choice, which decides nothing?",
        ),
        Mistake(
            "ranks-from-zero",
            _five(4, [7 / 11, 3 / 11, 1 / 11]),
            "k was counted from 0, as Python does; the formula counts from 1.",
            "For C = 3 the first weight is proportional to 2^2 - 1.",
        ),
        Mistake(
            "not-scaled",
            _five(4, [3.0, 1.0, 0.0]),
            "the weights are right up to a factor: they do not sum to 1.",
            "Divide by their sum.",
        ),
    ),
)

SILENT_S, SILENT_T, SILENT_Y = np.array([1.0, 2.0, 3.0]), np.array([20.0, 0.0, -20.0]), 2
FROM_PLD = float(reference.pld_gradient(SILENT_S, SILENT_T, SILENT_Y)[0])
POWER = float(np.log10(softmax(SILENT_T)[SILENT_Y]))
PULL_UP = expit(-1.0) - 1.0  # choice 2: class 0 out of {0, 1}

silenced = PartsExercise(
    title="05.2 a label without a voice",
    level="warm-up",
    minutes=8,
    parts=("gradient_0", "power", "growth"),
    right=(FROM_PLD, POWER, 1 / 0.3),
    rtol=5e-3,
    hint="Which choice has nearly all the weight, and among which classes is it made?",
    then="Rank 1 is a place in the queue, not a loud voice.",
    mistakes=(
        Mistake(
            "label-still-there",
            (float(softmax(SILENT_S)[0]) - 1, POWER, 1 / 0.3),
            "class 0 competes with all three classes, but the label has been chosen before it.",
            "The weighty choice is the second one; who is left?",
        ),
        Mistake(
            "sign-turned",
            (-PULL_UP, POWER, 1 / 0.3),
            "this is the push, minus the gradient.",
            "PLD wants class 0 higher; with which sign does its loss change when it rises?",
        ),
        Mistake(
            "full-voice",
            (FROM_PLD, 0.0, 1 / 0.3),
            "the label stands first, but its choice counts only with the teacher's weight for it.",
            "The label's pull is the first weight times cross-entropy's pull.",
        ),
        Mistake(
            "distance-to-second",
            (FROM_PLD, float(-20 / np.log(10)), 1 / 0.3),
            "the label is 20 below class 1, but class 0 has the probability.",
            "softmax compares with the largest logit.",
        ),
        Mistake(
            "natural-power",
            (FROM_PLD, -40.0, 1 / 0.3),
            "-40 is the power of e; asked for is the power of 10.",
            "Divide by log(10).",
        ),
        Mistake(
            "growth-of-the-rest",
            (FROM_PLD, POWER, 1 / 0.7),
            "this is the factor for the other choices: their weights sum to 0.7 and are made 1.",
            "What was the label's weight before, and what is it after?",
        ),
    ),
)

POSSIBLE = frozenset("acf")

teachers = ChoicesExercise(
    title="05.3 which weights has a teacher",
    level="core",
    minutes=8,
    options=tuple("abcdefg"),
    right=POSSIBLE,
    hint="A softmax is positive and sums to 1, and after the label the ranking is by its size.",
    then="From such a vector the teacher is known, up to a constant: t = log(alpha) by rank.",
    mistakes=(
        Mistake(
            "label-may-be-small",
            POSSIBLE ^ {"a"},
            "(a) the label's weight need not be the largest; the teacher prefers another class.",
            "Only ranks 2, 3, 4 are sorted by the teacher.",
        ),
        Mistake(
            "out-of-order",
            POSSIBLE ^ {"b"},
            "(b) rank 3 weighs more than rank 2, but the teacher would have ranked that one first.",
            "How does the ranking go on after the label?",
        ),
        Mistake(
            "ties-are-allowed",
            POSSIBLE ^ {"c"},
            "(c) four equal logits do it; a rule for ties makes the ranking.",
            "What is the softmax of a constant vector?",
        ),
        Mistake(
            "zero-weight",
            POSSIBLE ^ {"d"},
            "(d) P-ListMLE's last weight is 0, and exp(t) is 0 for no finite t.",
            "Which logit would the last class need?",
        ),
        Mistake(
            "sum-not-one",
            POSSIBLE ^ {"e"},
            "(e) these weights sum to 0.95.",
            "Add up a softmax.",
        ),
        Mistake(
            "wrong-teachers-count",
            POSSIBLE ^ {"f"},
            "(f) this teacher is sure of a class that is not the label; it happens.",
            "t = log of the weights; then rank, label first. Do you get them back?",
        ),
        Mistake(
            "never-quite",
            POSSIBLE ^ {"g"},
            "(g) cross-entropy is a limit: a finite teacher always leaves something to the others.",
            "Which logits would the other classes need?",
        ),
    ),
)


def p_list_mle(s: Floats, t: Floats, y: int) -> float:
    """P-ListMLE of one row."""
    return float(reference.position_list_mle(s, t, y))


def _position_loss(s: Floats, t: Floats, y: int, shift: int, scaled: bool = True) -> float:
    """Weights 2^(C-k-shift) - 1 for k counted from 0; shift 1 is right."""
    whole = 2.0 ** (len(s) - np.arange(len(s)) - shift) - 1
    alpha = whole / whole.sum() if scaled else whole
    return float(reference.pld_loss(s, t, y, weights=alpha))


ROWS = (
    (np.array([0.0, 1.0, -1.0]), np.array([1.0, 2.0, 0.0]), 0),
    (np.log([1.0, 3.0, 6.0, 2.0]), np.log([1.0, 2.0, 3.0, 4.0]), 2),
    (np.array([0.3, -1.2, 2.0, 0.7, 0.0]), np.array([0.5, 2.0, -1.0, 1.0, -2.0]), 3),
    (np.array([2.0, -1.0, 0.5]), np.array([-1.0, 0.0, 3.0]), 0),
)

repair = FunctionExercise(
    title="05.4 a broken P-ListMLE",
    level="core",
    minutes=12,
    right=p_list_mle,
    cases=ROWS,
    agrees_with="reference.position_list_mle",
    then="With all three bugs in it, it would have trained; nothing crashed, nothing was nan.",
    mistakes=(
        Mistake(
            "ranks-from-zero",
            lambda s, t, y: _position_loss(s, t, y, shift=0),
            "the weights are those of rank k + 1 counted from 0, so the last one is not 0.",
            "range(C) starts at 0, the formula's k at 1.",
        ),
        Mistake(
            "not-scaled",
            lambda s, t, y: _position_loss(s, t, y, shift=1, scaled=False),
            "the weights do not sum to 1.",
            "Sum the weights and divide by them at the end.",
        ),
        Mistake(
            "from-zero-and-not-scaled",
            lambda s, t, y: _position_loss(s, t, y, shift=0, scaled=False),
            "the ranks count from 0, and the weights do not sum to 1.",
            "Print the weights for three classes and compare them with 3, 1, 0 over 4.",
        ),
        Mistake(
            "teacher-weights",
            lambda s, t, y: float(reference.pld_loss(s, t, y)),
            "the weights are the teacher's softmax, so this is PLD.",
            "P-ListMLE takes the order from the teacher, and nothing else.",
        ),
        Mistake(
            "label-not-first",
            lambda s, t, y: p_list_mle(s, t, int(np.argmax(t))),
            "the ranking is the teacher's own, without the label in front.",
            "reference.teacher_ranking takes the label as its second argument.",
        ),
    ),
)


def louder(t: Floats, y: int, floor: float) -> Floats:
    """PLD's weights with the label's raised to `floor` where it is smaller."""
    return _label_weighs(t, y, max(float(softmax(t)[y]), floor))


def _label_weighs(t: Floats, y: int, weight: float) -> Floats:
    alpha = reference.rank_weights(t, reference.teacher_ranking(t, y))
    alpha[0] = weight
    return alpha


def _by_class(t: Floats, y: int, floor: float) -> Floats:
    q = softmax(t)
    q[y] = max(q[y], floor)
    return q


floor = FunctionExercise(
    title="05.5 a floor for the label",
    level="core",
    minutes=10,
    right=louder,
    cases=(
        (np.log([2.0, 5.0, 3.0]), 2, 0.5),
        (np.log([2.0, 5.0, 3.0]), 1, 0.4),
        (np.array([20.0, 0.0, -20.0]), 2, 0.25),
        (np.array([0.5, 2.0, -1.0, 1.0]), 3, 0.3),
    ),
    agrees_with="weights of which only the first is touched",
    then="A sum of two members of the family is a member: this is PLD plus some cross-entropy.",
    mistakes=(
        Mistake(
            "class-order",
            _by_class,
            "the weights come in class order.",
            "reference.rank_weights gives them in rank order.",
        ),
        Mistake(
            "always-set",
            _label_weighs,
            "the label's weight is the floor even where the teacher gives it more.",
            "A floor holds from below only.",
        ),
        Mistake(
            "floor-added",
            lambda t, y, floor: _label_weighs(t, y, softmax(t)[y] + floor),
            "the floor is added to the label's weight.",
            "The teacher that gives the label enough is to be left alone.",
        ),
        Mistake(
            "renormalised",
            lambda t, y, floor: louder(t, y, floor) / louder(t, y, floor).sum(),
            "the weights are divided by their sum, and the label falls below its floor again.",
            "Weights need not sum to 1; PLD is linear in them.",
        ),
        Mistake(
            "floor-for-all",
            lambda t, y, floor: np.maximum(louder(t, y, floor), floor),
            "every weight is raised to the floor.",
            "Only rank 1 is the label.",
        ),
    ),
)


def temperature_for(t: Floats, y: int, weight: float) -> float:
    """Teacher temperature at which the label's weight is `weight`; it lies in 0.05 to 50."""

    def excess(log_tau: float) -> float:
        return float(softmax(t / np.exp(log_tau))[y]) - weight

    return float(np.exp(brentq(excess, np.log(0.05), np.log(50), xtol=1e-14)))


def _log_odds(weight: float) -> float:
    return float(np.log(weight / (1 - weight)))


def _against(t: Floats, y: int) -> Floats:
    return np.delete(t, y)


temperature = FunctionExercise(
    title="05.6 a temperature for a weight",
    level="challenge",
    minutes=20,
    right=temperature_for,
    cases=(
        (np.array([2.0, 0.0, 0.0]), 0, 0.6),
        (np.array([6.0, 3.0, 1.0, 0.0]), 0, 0.7),
        (np.array([0.0, 10.0, 4.0, 4.0, 2.0]), 1, 0.4),
        (np.array([3.0, 1.0, -1.0]), 2, 0.2),
    ),
    agrees_with="a root of softmax(t / tau)[y] - weight",
    then="Compare teachers by the weight they leave the label, not by their temperature.",
    rtol=1e-5,
    mistakes=(
        Mistake(
            "inverse",
            lambda t, y, weight: 1 / temperature_for(t, y, weight),
            "this is 1 / tau: the logits are multiplied by it.",
            "In PLD the teacher's logits are divided by the temperature.",
        ),
        Mistake(
            "two-classes-only",
            lambda t, y, weight: float((t[y] - _against(t, y).max()) / _log_odds(weight)),
            "the label is weighed against one other class, as if there were only two.",
            "All the others have their share of the softmax.",
        ),
        Mistake(
            "others-at-their-mean",
            lambda t, y, weight: float(
                (t[y] - _against(t, y).mean()) / (_log_odds(weight) + np.log(len(t) - 1))
            ),
            "the other classes are replaced by their mean logit, but their exponentials add up.",
            "There is no closed formula for unequal logits; let a root-finder search.",
        ),
    ),
)

EXERCISES = (vectors, silenced, teachers, repair, floor, temperature)
