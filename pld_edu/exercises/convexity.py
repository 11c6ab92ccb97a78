"""Exercises for notebook 04: curvature, Jensen, and a minimum that does not exist."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pld_edu import reference
from pld_edu.check.engine import as_array

from .calling import Floats, call
from .kinds import Code, Values, wrong, wrong_options

Loss = Callable[[Floats], float]

SAFE_STEP = Values(
    heading="04.1 a step that cannot go up · warm-up · 6 minutes",
    right={"curvature": (1 - 0.1) / 2, "step": 4 / (1 - 0.1)},
    hint="Section 3 bounds the curvature, and says how long a step may be then.",
    praise="The more weight on the last class, the flatter PLD, and the longer the safe steps.",
    mistakes=(
        wrong("last-choice-counted", curvature=0.5)(
            "This is the bound for any teacher.", "The last choice, of weight 0.1, bends nothing."
        ),
        wrong("half-forgotten", curvature=0.9)(
            "No eigenvalue of one choice reaches 1.", "It is at most max 2 p (1 - p)."
        ),
        wrong("step-to-the-bottom", step=2 / (1 - 0.1))(
            "This step lands at the bottom.", "The other side may be climbed to the same height."
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
    pair = call(answer)
    if np.shape(pair) != (2, 4) or not np.isfinite(pair).all():
        return "two_students returns two students, a, b, each an array of four finite logits."
    a, b = (np.asarray(x, float) for x in pair)
    if np.ptp(a - b) < 1e-9:
        return "one-student"
    rise = above_chord(a, b)
    if rise <= 0:
        return "below-the-chord"
    return None if rise >= 0.01 else "This rises by less than 0.01: take them further apart."


COUNTEREXAMPLE = Code(
    heading="04.2 DIST is not convex · core · 15 minutes",
    test=_test_not_convex,
    praise="One pair is a proof that DIST is not convex; no number of pairs proves that PLD is.",
    mistakes=(
        wrong("one-student", lambda: (DIST_TEACHER, DIST_TEACHER + 3))(
            "a and b differ by a constant only.", "Let them rank the classes differently."
        ),
        wrong("below-the-chord", lambda: (DIST_TEACHER + NEAR, DIST_TEACHER - NEAR))(
            "Between these two the midpoint lies below the chord, as for a convex function.",
            "A hole in a plateau: where on the way out of the hole does the ground bend downwards?",
        ),
    ),
)

GAP_KD, GAP_PLD = np.log(2) - np.log(3), np.log(2)

MEMORY = Values(
    heading="04.3 what the gaps remember · core · 12 minutes",
    right={"kd_difference": GAP_KD, "pld_difference": GAP_PLD, "steps": 2000.0},
    rtol=0.03,
    hint="KD ends at s = t + const; section 5 has PLD's gaps, log(alpha_k T / c_k), and its loss.",
    praise="PLD's student forgets how sure the teacher was, but a head start stays.",
    mistakes=(
        wrong("probabilities-subtracted", kd_difference=0.1)(
            "These are gaps of probabilities.", "A logit is a log-probability."
        ),
        wrong("pld-copies", pld_difference=GAP_KD)(
            "These gaps are KD's end.", "PLD's grow like log T; what is their difference?"
        ),
        wrong("pld-forgets-all", pld_difference=0.0)(
            "One of the two gaps has a head start.", "Subtract the two log(alpha_k T / c_k)."
        ),
        wrong("two-forgotten", steps=1000.0)(
            "The loss is taken to be 1 / n.", "See n times the loss in the notebook's table."
        ),
    ),
)

CHANGES = Values(
    heading="04.4 which changes keep it convex · challenge · 18 minutes",
    right={"still_convex": frozenset("acfg")},
    options="abcdefgh",
    hint="Affine inside, nonnegative sums outside; everything else must be tested.",
    praise="Linear inside and rising convex outside are safe; the student's own order is not.",
    mistakes=wrong_options(
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

EXERCISES = (SAFE_STEP, COUNTEREXAMPLE, MEMORY, CHANGES)

FOX_BEND = Values(
    heading="04.a the bend along fox",
    right={"fox_bend": 0.3 * 5 / 36 + 0.4 * 2 / 9},  # the Shiba Inu: worths 1, 3, 6, 2
    hint="A reading that is 1 with probability p, and else 0, has the variance p (1 - p).",
    praise="Choice 2 bends more than choice 1: there the student is less sure about fox.",
    mistakes=(
        wrong("first-choice-only", 0.3 * 5 / 36)(
            "This is choice 1 alone.", "Fox is still there when dog is gone."
        ),
        wrong("nobody-leaves", 0.7 * 5 / 36)(
            "In choice 2 dog still takes part.", "Which worths are left then?"
        ),
        wrong("weights-forgotten", 5 / 36 + 2 / 9)(
            "Both choices count fully.", "Their weights are 0.3 and 0.4."
        ),
    ),
)


def _test_way_out(answer: Any) -> str | None:
    """Whether PLD of the Shiba Inu falls to 0 along a direction: dog, fox, cat, car must drop."""
    v = as_array(answer)
    if v is None or v.shape != (4,) or not np.isfinite(v).all():
        return "v is four finite numbers: for car, cat, dog and fox."
    drops = -np.diff(v[[2, 3, 1, 0]])
    if (drops > 0).all():
        return None
    if (drops < 0).all():
        return "uphill"
    if (drops >= 0).all():
        return "tied"
    if v.argmax() == 3:
        return "label-behind"
    return "Along v some choice is won by a class that it does not ask for: PLD rises in the end."


WAY_OUT = Code(
    heading="04.b the way out",
    test=_test_way_out,
    praise="How far apart the entries are matters for the speed, not for the end.",
    mistakes=(
        wrong("uphill", [3, 1, -3, -1])("This is the way up.", "Turn it round."),
        wrong("tied", [0, 0, 2, 1], [0, 0, 1, 0])(
            "Two classes stay tied, so one choice costs log 2 or more for ever.",
            "Every choice needs a winner.",
        ),
        wrong("label-behind", [1, 2, 3, 4])(
            "Fox runs ahead of dog.", "Which class does PLD's ranking name first?"
        ),
    ),
)

LAW_HOLDS = Values(
    heading="04.c when the law holds",
    right={"n_steps": 10 * np.exp(10) / 4},
    hint="Set 4 n equal to 10 c_k / alpha_k; the smallest weight decides.",
    praise="A weight of e^-20 would need 22,000 times as many.",
    mistakes=(
        wrong("step-size-forgotten", 10 * np.exp(10))(
            "This is eta n.", "One step adds 4 to it, not 1."
        ),
        wrong("only-just", np.exp(10) / 4)(
            "Here eta n only just reaches c_2 / alpha_2.", "It is to be ten times as large."
        ),
        wrong("largest-weight", 10 / 4)(
            "This is the condition of choice 1.", "Choice 2 has the smaller weight."
        ),
    ),
)

FILL_INS = (FOX_BEND, WAY_OUT, LAW_HOLDS)
