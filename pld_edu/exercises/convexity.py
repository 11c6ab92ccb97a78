"""Exercises for notebook 04: curvature, Jensen, and a minimum that does not exist."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pld_edu import reference

from .calling import as_array, call
from .kinds import AnswerExercise, FunctionExercise, JudgedExercise, Mistake
from .parts import ChoicesExercise, PartsExercise

Floats = NDArray[np.float64]
Loss = Callable[[Floats], float]

UNDECIDED = np.zeros(3)
WORTHS_321 = np.log([3.0, 2.0, 1.0])  # weights 1/2, 1/3, 1/6 in rank order 0, 1, 2
ONE = np.ones((3, 3)) / 9  # sigma sigma^T of the choice among three
TWO = np.zeros((3, 3))
TWO[1:, 1:] = 1 / 4  # and among the last two
FIRST, SECOND = np.diag([1 / 3] * 3) - ONE, np.diag([0, 1 / 2, 1 / 2]) - TWO

bend = AnswerExercise(
    title="04.1 the bend of two choices",
    level="warm-up",
    minutes=8,
    right=reference.pld_hessian(UNDECIDED, WORTHS_321, 0),
    hint="Each choice adds its weight times (diag(sigma) - sigma sigma^T), over those still there.",
    then="The rows add up to 0: a constant added to all logits changes nothing.",
    mistakes=(
        Mistake(
            "weights-forgotten",
            FIRST + SECOND,
            "each choice counts fully, whatever its weight.",
            "The teacher's probabilities 1/2, 1/3, 1/6 stand in front of the brackets.",
        ),
        Mistake(
            "only-the-diagonal",
            np.diag([1 / 6, 1 / 3, 1 / 3]),
            "the products sigma_i sigma_j are missing, so that the rows do not add up to 0.",
            "What does a constant added to all logits change? Then what must the matrix do to it?",
        ),
        Mistake(
            "sign-of-the-products",
            FIRST / 2 + SECOND / 3 + ONE + 2 * TWO / 3,
            "the products sigma_i sigma_j are added and not subtracted.",
            "A variance is the mean of the square minus the square of the mean.",
        ),
        Mistake(
            "nobody-leaves",
            FIRST,
            "every choice is made among all three classes.",
            "Class 0 has been chosen when the second choice is made; its row and column are 0.",
        ),
        Mistake(
            "first-choice-only",
            FIRST / 2,
            "only the first choice bends; this is weighted cross-entropy.",
            "Two classes are left after it, and the choice between them has weight 1/3.",
        ),
        Mistake(
            "last-choice-bends",
            FIRST / 2 + SECOND / 3 + np.diag([0, 0, 1 / 6]),
            "the last choice, from a single class, adds something.",
            "With one class left, sigma is 1; what is 1 - 1 * 1?",
        ),
    ),
)

ALPHA = np.array([0.6, 0.3, 0.1])
STEEPEST = np.linalg.eigvalsh(reference.pld_hessian([0.0, 40.0, 40.0], np.log(ALPHA), 0))[-1]

safe_step = PartsExercise(
    title="04.2 a step that cannot go up",
    level="warm-up",
    minutes=6,
    parts=("curvature", "step"),
    right=(STEEPEST, 2 / STEEPEST),
    hint="Section 7 bounds the curvature, and says how long a step may be then.",
    then="The more weight on the last class, the flatter PLD, and the longer the safe steps.",
    mistakes=(
        Mistake(
            "last-choice-counted",
            (0.5, 4.0),
            "this is the bound for any teacher, but here the last class has weight 0.1.",
            "The last choice has one class to choose from and bends nothing.",
        ),
        Mistake(
            "half-forgotten",
            (0.9, 2 / 0.9),
            "the variance of one choice is taken to reach 1.",
            "No eigenvalue of a softmax's covariance exceeds max 2 p (1 - p).",
        ),
        Mistake(
            "logistic-quarter",
            (0.225, 2 / 0.225),
            "1/4 is the largest second derivative along one logit, not along any direction.",
            "Move two tied classes apart by (1, -1) / sqrt(2): the curvature adds up.",
        ),
        Mistake(
            "label-left-out",
            (0.2, 10.0),
            "the label's weight is subtracted, but it is the last choice that bends nothing.",
            "Which rank has only one class left?",
        ),
        Mistake(
            "step-to-the-bottom",
            (STEEPEST, 1 / STEEPEST),
            "a step of one over the curvature lands at the bottom of the parabola.",
            "You may go on up the other side, to the height from which you came.",
        ),
    ),
)


def second_difference(f: Loss, s: Floats, d: Floats, h: float) -> float:
    """Second derivative of `f` at `s` along `d`, by differences of three values."""
    return (f(s + h * d) - 2 * f(s) + f(s - h * d)) / h**2


def pld(z: Floats) -> float:
    """PLD for t = (1, 0.5, -1) and label 0."""
    return float(reference.pld_loss(z, [1.0, 0.5, -1.0], 0))


def bowl(z: Floats) -> float:
    """Half the squared length: it bends by |d|^2 along d."""
    return float(z @ z) / 2


difference = FunctionExercise(
    title="04.3 second difference",
    level="core",
    minutes=10,
    right=second_difference,
    cases=(
        (bowl, np.array([1.0, -2.0]), np.array([3.0, 1.0]), 0.1),
        (pld, np.array([2.0, -1.0, 0.5]), np.array([1.0, 1.0, 1.0]), 0.5),
        (pld, np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, -1.0]), 0.1),
        (pld, np.array([0.0, 2.0, -1.0]), np.array([0.0, 2.0, -1.0]), 0.2),
        (np.sum, np.array([1.0, 2.0, 5.0]), np.array([1.0, 0.0, 2.0]), 0.1),
    ),
    agrees_with="the three-point formula",
    then="Along (1, 1, 1) PLD does not bend at all; a bowl bends the same everywhere.",
    rtol=1e-7,
    atol=1e-9,
    mistakes=(
        Mistake(
            "not-divided",
            lambda f, s, d, h: f(s + h * d) - 2 * f(s) + f(s - h * d),
            "the difference is not divided by the square of the step.",
            "Halve h: a derivative must not become four times smaller.",
        ),
        Mistake(
            "divided-by-h",
            lambda f, s, d, h: (f(s + h * d) - 2 * f(s) + f(s - h * d)) / h,
            "the difference is divided by h once, but it is a difference of differences.",
            "Each of the two differences needs its own h.",
        ),
        Mistake(
            "step-of-2h",
            lambda f, s, d, h: (f(s + h * d) - 2 * f(s) + f(s - h * d)) / (2 * h) ** 2,
            "the outer points are 2h apart, but each slope is taken over h.",
            "From which point to which do the two slopes run, and how far are their middles apart?",
        ),
        Mistake(
            "one-sided",
            lambda f, s, d, h: (f(s + 2 * h * d) - 2 * f(s + h * d) + f(s)) / h**2,
            "the three points start at s, so this is the bend at s + h d.",
            "Put s in the middle of the three points.",
        ),
        Mistake(
            "a-slope",
            lambda f, s, d, h: (f(s + h * d) - f(s - h * d)) / (2 * h),
            "this is the first derivative, the slope.",
            "A bend is how the slope changes: three points, not two.",
        ),
        Mistake(
            "centre-once",
            lambda f, s, d, h: (f(s + h * d) - f(s) + f(s - h * d)) / h**2,
            "the middle value is subtracted once, but it belongs to both differences.",
            "Try a function that is a straight line: its bend is 0.",
        ),
        Mistake(
            "direction-rescaled",
            lambda f, s, d, h: second_difference(f, s, d / np.sqrt(d @ d), h),
            "the direction is scaled to length 1 first.",
            "Along d as it is given: twice the d, four times the bend.",
        ),
    ),
)

DIST_TEACHER = np.array([2.0, 1.0, 0.0, -1.0])
APART = np.array([1.0, -1.0, 0.0, 0.0])
AT_LEAST = 0.01


def above_chord(a: Floats, b: Floats) -> float:
    """How far DIST's row term at the middle of `a` and `b` lies above their chord."""

    def dist(s: Floats) -> float:
        return reference.dist_loss([s], [DIST_TEACHER], gamma=0.0)

    return dist((a + b) / 2) - (dist(a) + dist(b)) / 2


def not_convex(answer: Any) -> str | None:
    """Verdict on a function that gives two students between which DIST rises above its chord."""
    if not callable(answer):
        return "Hand in the function two_students itself, without calling it."
    pair = call(answer)
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        return "two_students returns two students: return a, b."
    arrays = [as_array(student) for student in pair]
    if any(x is None or x.shape != (4,) or not np.isfinite(x).all() for x in arrays):
        return "A student has four finite logits: hand in two arrays of shape (4,)."
    a, b = (np.asarray(x, float) for x in pair)
    if np.ptp(a - b) < 1e-9:
        return "one-student"
    rise = above_chord(a, b)
    if rise <= 0:
        return "below-the-chord"
    return "hardly-above" if rise < AT_LEAST else None


counterexample = JudgedExercise(
    title="04.4 DIST is not convex",
    level="core",
    minutes=15,
    verdict=not_convex,
    then="One pair is a proof; for the convex ones no number of pairs is.",
    mistakes=(
        Mistake(
            "one-student",
            lambda: (DIST_TEACHER, DIST_TEACHER + 3),
            "a and b differ by a constant, which no softmax can see: DIST is level between them.",
            "Choose students that rank the classes differently.",
        ),
        Mistake(
            "below-the-chord",
            lambda: (DIST_TEACHER + APART, DIST_TEACHER - APART),
            "between these two the midpoint lies below the chord, as for a convex function.",
            "A hole in a plateau: where on the way out of the hole does the ground bend downwards?",
        ),
        Mistake(
            "hardly-above",
            lambda: (DIST_TEACHER[::-1] + APART / 5, DIST_TEACHER[::-1]),
            f"the midpoint is above the chord, but by less than {AT_LEAST}: could be rounding.",
            "Take the two students further apart, or search among a few thousand pairs.",
        ),
    ),
)

GAPS_KD, GAPS_PLD, STEPS = np.log(2) - np.log(3), np.log(2), 2000.0

memory = PartsExercise(
    title="04.5 what the gaps remember",
    level="core",
    minutes=12,
    parts=("kd_difference", "pld_difference", "steps"),
    right=(GAPS_KD, GAPS_PLD, STEPS),
    rtol=0.03,
    hint="KD ends at s = t + const; section 4 has PLD's gaps, log(alpha_k T / c_k), and its loss.",
    then="PLD's student forgets how sure the teacher was, but not everything: a head start stays.",
    mistakes=(
        Mistake(
            "pld-copies",
            (GAPS_KD, GAPS_KD, STEPS),
            "PLD's student is given the teacher's gaps, but those are KD's end.",
            "With PLD every gap grows like log T; what is left in the difference of two gaps?",
        ),
        Mistake(
            "pld-forgets-all",
            (GAPS_KD, 0.0, STEPS),
            "the two gaps grow at the same rate, but one has a head start.",
            "Subtract log(alpha_k T / c_k) for k = 2 from that for k = 1.",
        ),
        Mistake(
            "probabilities-subtracted",
            (0.1, GAPS_PLD, STEPS),
            "0.6 - 0.3 and 0.3 - 0.1 are gaps of probabilities; the student has logits.",
            "A logit is a logarithm of a probability, up to a constant.",
        ),
        Mistake(
            "second-minus-first",
            (-GAPS_KD, -GAPS_PLD, STEPS),
            "the gaps are subtracted the wrong way round.",
            "First gap (ranks 1 and 2) minus second gap (ranks 2 and 3).",
        ),
        Mistake(
            "exponential",
            (GAPS_KD, GAPS_PLD, np.log(1000)),
            "the loss is taken to fall like exp(-n), as near a minimum.",
            "There is no minimum to be near; look at n times the loss in section 4.",
        ),
        Mistake(
            "two-forgotten",
            (GAPS_KD, GAPS_PLD, 1000.0),
            "the loss is taken to be 1 / n.",
            "What is n times the loss in the notebook's table for three classes?",
        ),
        Mistake(
            "square-root",
            (GAPS_KD, GAPS_PLD, 1e6),
            "the loss is taken to fall like 1 / sqrt(n).",
            "A hundred times the steps: how much smaller is the loss in the notebook's table?",
        ),
    ),
)

CONVEX = frozenset("acfg")

changes = ChoicesExercise(
    title="04.6 which changes keep it convex",
    level="challenge",
    minutes=18,
    options=tuple("abcdefgh"),
    right=CONVEX,
    hint="Affine inside, nonnegative sums outside; everything else must be tested.",
    then="Linear inside, rising convex outside: safe. The student in weights or order: not.",
    mistakes=(
        Mistake(
            "a-constant-does-no-harm",
            CONVEX ^ {"a"},
            "(a) dividing by 4 is linear in the student's logits.",
            "What does a convex function of s / 4 look like, compared with one of s?",
        ),
        Mistake(
            "own-deviation",
            CONVEX ^ {"b"},
            "(b) the divisor depends on the student itself, so the logits enter nonlinearly.",
            "Multiply the student by 10: the loss stays. Along that ray, and then across 0?",
        ),
        Mistake(
            "label-is-given",
            CONVEX ^ {"c"},
            "(c) the label is not the student's doing; for each row the divisor is a constant.",
            "Fix the row, and then ask whether the function of s is convex.",
        ),
        Mistake(
            "own-order",
            CONVEX ^ {"d"},
            "(d) the ranking changes when two of the student's logits cross.",
            "Take two students with opposite orders of two classes; at their midpoint they tie.",
        ),
        Mistake(
            "own-weights",
            CONVEX ^ {"e"},
            "(e) the weights move with the student, so it is no sum with fixed weights any more.",
            "A student sure of a wrong class: how much weight has the label's choice then?",
        ),
        Mistake(
            "sums-are-fine",
            CONVEX ^ {"f"},
            "(f) KD is convex in the logits, and so is the sum of two convex functions.",
            "KD is a constant plus sum of q_i (logsumexp(s) - s_i).",
        ),
        Mistake(
            "squares-of-positives",
            CONVEX ^ {"g"},
            "(g) squaring is convex and increasing on values above 0, and PLD is never below 0.",
            "When does an outer function keep convexity?",
        ),
        Mistake(
            "square-root",
            CONVEX ^ {"h"},
            "(h) a square root bends down, and far out it bends more than PLD bends up.",
            "Where the student is very wrong PLD is nearly a straight line; take its root.",
        ),
    ),
)

EXERCISES = (bend, safe_step, difference, counterexample, memory, changes)
