"""Exercises for notebook 04: curvature, Jensen, and a minimum that does not exist."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pld_edu import reference
from pld_edu.check.engine import as_array

from .calling import Floats, call
from .kinds import Code, Values, wrong, wrong_options

# Two choices of a student without an opinion: diag(sigma) - sigma sigma^T among 3, and among 2.
FIRST = np.eye(3) / 3 - 1 / 9
SECOND = np.pad(np.eye(2) / 2 - 1 / 4, (1, 0))

BEND = Values(
    heading="04.1 the bend of two choices · warm-up · 8 minutes",
    right={"H": reference.pld_hessian(np.zeros(3), np.log([3.0, 2.0, 1.0]), 0)},
    hint="Each choice adds its weight times (diag(sigma) - sigma sigma^T), over those still there.",
    praise="The rows add up to 0: a constant added to all logits changes nothing.",
    mistakes=(
        wrong("weights-forgotten", FIRST + SECOND)(
            "Each choice counts fully, whatever its weight.",
            "The teacher's probabilities 1/2, 1/3, 1/6 stand in front of the brackets.",
        ),
        wrong("nobody-leaves", FIRST)(
            "Every choice is made among all three classes.",
            "Class 0 has been chosen when the second choice is made; its row and column are 0.",
        ),
        wrong("first-choice-only", FIRST / 2)(
            "Only the first choice bends; this is weighted cross-entropy.",
            "Two classes are left after it, and the choice between them has weight 1/3.",
        ),
    ),
)

SAFE_STEP = Values(
    heading="04.2 a step that cannot go up · warm-up · 6 minutes",
    right={"curvature": (1 - 0.1) / 2, "step": 4 / (1 - 0.1)},
    hint="Section 7 bounds the curvature, and says how long a step may be then.",
    praise="The more weight on the last class, the flatter PLD, and the longer the safe steps.",
    mistakes=(
        wrong("last-choice-counted", curvature=0.5)(
            "This is the bound for any teacher, but here the last class has weight 0.1.",
            "The last choice has one class to choose from and bends nothing.",
        ),
        wrong("half-forgotten", curvature=0.9)(
            "The variance of one choice is taken to reach 1.",
            "No eigenvalue of a softmax's covariance exceeds max 2 p (1 - p).",
        ),
        wrong("step-to-the-bottom", step=2 / (1 - 0.1))(
            "A step of one over the curvature lands at the bottom of the parabola.",
            "You may go on up the other side, to the height from which you came.",
        ),
    ),
)


def second_difference(f: Callable[[Floats], float], s: Floats, d: Floats, h: float) -> float:
    """Second derivative of `f` at `s` along `d`, by differences of three values."""
    return (f(s + h * d) - 2 * f(s) + f(s - h * d)) / h**2


def pld(z: Floats) -> float:
    """PLD for t = (1, 0.5, -1) and label 0."""
    return float(reference.pld_loss(z, [1.0, 0.5, -1.0], 0))


def bowl(z: Floats) -> float:
    """Half the squared length: it bends by |d|^2 along d."""
    return float(z @ z) / 2


DIFFERENCE = Code(
    heading="04.3 second difference · core · 10 minutes",
    right=second_difference,
    cases=(
        (bowl, np.array([1.0, -2.0]), np.array([3.0, 1.0]), 0.1),
        (pld, np.array([2.0, -1.0, 0.5]), np.array([1.0, 1.0, 1.0]), 0.5),
        (pld, np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, -1.0]), 0.1),
        (pld, np.array([0.0, 2.0, -1.0]), np.array([0.0, 2.0, -1.0]), 0.2),
        (np.sum, np.array([1.0, 2.0, 5.0]), np.array([1.0, 0.0, 2.0]), 0.1),
    ),
    rtol=1e-7,
    atol=1e-9,
    praise="Along (1, 1, 1) PLD does not bend at all; a bowl bends the same everywhere.",
    mistakes=(
        wrong(
            "not-by-h-squared",
            lambda f, s, d, h: second_difference(f, s, d, h) * h**2,
            lambda f, s, d, h: second_difference(f, s, d, h) * h,
        )(
            "The difference of differences has to be divided by h twice.",
            "Halve h: a derivative must not become smaller.",
        ),
        wrong("step-of-2h", lambda f, s, d, h: second_difference(f, s, d, h) / 4)(
            "The outer points are 2h apart, but each slope is taken over h.",
            "From which point to which do the two slopes run, and how far are their middles apart?",
        ),
        wrong("a-slope", lambda f, s, d, h: (f(s + h * d) - f(s - h * d)) / (2 * h))(
            "This is the first derivative, the slope.",
            "A bend is how the slope changes: three points, not two.",
        ),
    ),
)

DIST_TEACHER = np.array([2.0, 1.0, 0.0, -1.0])
NEAR = np.array([1.0, -1.0, 0.0, 0.0])


def above_chord(a: Floats, b: Floats) -> float:
    """How far DIST's row term at the middle of `a` and `b` lies above their chord."""

    def dist(s: Floats) -> float:
        return reference.dist_loss([s], [DIST_TEACHER], gamma=0.0)

    return dist((a + b) / 2) - (dist(a) + dist(b)) / 2


def _test_not_convex(answer: Any) -> str | None:
    """Whether a function gives two students between which DIST rises above its chord."""
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
    return "below-the-chord" if rise <= 0 else "hardly-above" if rise < 0.01 else None


COUNTEREXAMPLE = Code(
    heading="04.4 DIST is not convex · core · 15 minutes",
    test=_test_not_convex,
    praise="One pair is a proof that DIST is not convex; no number of pairs proves that PLD is.",
    mistakes=(
        wrong("one-student", lambda: (DIST_TEACHER, DIST_TEACHER + 3))(
            "a and b differ by a constant, which no softmax can see: DIST is level between them.",
            "Choose students that rank the classes differently.",
        ),
        wrong("below-the-chord", lambda: (DIST_TEACHER + NEAR, DIST_TEACHER - NEAR))(
            "Between these two the midpoint lies below the chord, as for a convex function.",
            "A hole in a plateau: where on the way out of the hole does the ground bend downwards?",
        ),
        wrong("hardly-above", lambda: (DIST_TEACHER[::-1] + NEAR / 5, DIST_TEACHER[::-1]))(
            "The midpoint is above the chord, but by less than 0.01: could be rounding.",
            "Take the two students further apart, or search among a few thousand pairs.",
        ),
    ),
)

GAP_KD, GAP_PLD = np.log(2) - np.log(3), np.log(2)

MEMORY = Values(
    heading="04.5 what the gaps remember · core · 12 minutes",
    right={"kd_difference": GAP_KD, "pld_difference": GAP_PLD, "steps": 2000.0},
    rtol=0.03,
    hint="KD ends at s = t + const; section 4 has PLD's gaps, log(alpha_k T / c_k), and its loss.",
    praise="PLD's student forgets how sure the teacher was, but a head start stays.",
    mistakes=(
        wrong("probabilities-subtracted", kd_difference=0.1)(
            "0.6 - 0.3 and 0.3 - 0.1 are gaps of probabilities; the student has logits.",
            "A logit is a logarithm of a probability, up to a constant.",
        ),
        wrong("pld-copies", pld_difference=GAP_KD)(
            "PLD's student is given the teacher's gaps, but those are KD's end.",
            "With PLD every gap grows like log T; what is left in the difference of two gaps?",
        ),
        wrong("pld-forgets-all", pld_difference=0.0)(
            "The two gaps grow at the same rate, but one has a head start.",
            "Subtract log(alpha_k T / c_k) for k = 2 from that for k = 1.",
        ),
        wrong("two-forgotten", steps=1000.0)(
            "The loss is taken to be 1 / n.",
            "What is n times the loss in the notebook's table for three classes?",
        ),
    ),
)

CONVEX = frozenset("acfg")

CHANGES = Values(
    heading="04.6 which changes keep it convex · challenge · 18 minutes",
    right={"still_convex": CONVEX},
    options="abcdefgh",
    hint="Affine inside, nonnegative sums outside; everything else must be tested.",
    praise="Linear inside or rising convex outside is safe; weights or order by student are not.",
    mistakes=wrong_options(
        "still_convex",
        CONVEX,
        a="Dividing by 4 is linear in the student's logits.",
        b="The divisor depends on the student itself: 10 s has the loss of s, and -s has not.",
        c="The label is not the student's doing; for each row the divisor is a constant.",
        d="The ranking changes when two of the student's logits cross.",
        e="The weights move with the student, so it is no sum with fixed weights any more.",
        f="KD is convex in the logits, and so is the sum of two convex functions.",
        g="Squaring is convex and increasing above 0, and PLD is never below 0.",
        h="A square root bends down, and far out it bends more than PLD bends up.",
    ),
)

EXERCISES = (BEND, SAFE_STEP, DIFFERENCE, COUNTEREXAMPLE, MEMORY, CHANGES)
