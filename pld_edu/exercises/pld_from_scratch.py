"""Exercises for notebook 03: the PLD loss by pencil, its digits, its gradient, all of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logsumexp, softmax

from pld_edu import reference
from pld_edu.check.engine import Mistake
from pld_edu.check.mistakes import BY_NAME

from .calling import Floats, NotYet, call
from .kinds import Code, Values, wrong
from .pld_losses import passes_check_loss, wrong_pld

PHOTO = np.log([1, 4, 1, 2]), np.log([10, 3, 2, 5]), 1  # fox, cat, dog, bird; label cat


def _by_pencil(name: str, **changes: Any) -> Mistake:
    """A mistake of the checker's table, with the number to which it leads here."""
    return wrong(name, wrong_pld(**changes)[0](*PHOTO))(BY_NAME[name].sentence, BY_NAME[name].fix)


THE_BILL = Values(
    heading="03.1 the bill · warm-up · 7 minutes",
    right={"bill": reference.pld_loss(*PHOTO)},
    rtol=1e-3,
    hint="Four lines: who is chosen, from whom, with which share, and how much does it weigh?",
    praise="0.15 ln 2 + 0.5 ln 4 + 0.25 ln (3/2). More than three quarters are owed for the fox.",
    mistakes=(
        _by_pencil("label-not-first", label="sorted"),
        _by_pencil("full-softmax", tail="all"),
        _by_pencil("weights-not-permuted", weights_order="class"),
        _by_pencil("uniform-weights", weights="ones"),
        _by_pencil("renormalised-tail", weights="renormalised tail"),
    ),
)

LABEL_GRADIENT = Values(
    heading="03.2 what the label feels · warm-up · 4 minutes",
    right={"label_gradient": -0.12},
    hint="Only the first choice concerns the label: alpha_1 (sigma_1 - 1).",
    praise="It is cross-entropy's gradient, -0.2, times the teacher's probability of the label.",
    mistakes=(
        wrong("sign", 0.12)("This is the push.", "The gradient points the other way."),
        wrong("cross-entropy", -0.2)(
            "This is cross-entropy's gradient, 0.8 - 1.", "How much does PLD let it weigh?"
        ),
        wrong("matching-probabilities", 0.2)(
            "Student minus teacher is KD's gradient.", "It would push the label *down*."
        ),
    ),
)


def _each_tail(cost: Callable[[Floats], Any]) -> Callable[[Floats], Floats]:
    """A function of z that takes the cost of each tail by itself."""
    return lambda z: np.array([cost(np.asarray(z, float)[k:]) for k in range(len(z))])


COSTS = Code(
    heading="03.3 costs that survive · core · 12 minutes",
    right=lambda z: np.logaddexp(0.0, reference.log_odds_against(np.array(z))),
    cases=(
        ([1.0, 2.0],),
        ([-1.0, 0.5, 2.0, -3.0, 1.5],),
        ([1000.0, 1001.0, 999.5],),
        ([1000.0, 0.0, 1.0, -3.0],),
        ([0.0, 900.0, 3.0],),
        ([120.0, 80.0, 40.0, 0.0],),
    ),
    atol=1e-30,
    praise="Even 4e-18 has all its digits.",
    mistakes=(
        wrong("prefix-sums", lambda z: np.logaddexp.accumulate(z) - z)(
            "The sum at rank k runs up to k.", "What has been chosen is gone; sum what is left."
        ),
        wrong("full-softmax", lambda z: logsumexp(z) - z)(
            "Every choice is made among all classes.", "The sum at rank k starts at rank k."
        ),
        wrong("literal", _each_tail(lambda z: np.log(np.exp(z).sum()) - z[0]))(
            "e^1000 overflows.", "Subtract the chosen logit from its tail first."
        ),
        wrong("small-difference", _each_tail(lambda z: logsumexp(z) - z[0]))(
            "Nothing overflows, but a logsumexp of about 120 minus 120 leaves no digit of 4e-18.",
            "Take the chosen class out of the sum, and subtract its logit before summing.",
        ),
    ),
)


def _gradient(z: ArrayLike, alpha: ArrayLike) -> Floats:
    return reference.pld_gradient(z, -np.arange(len(np.asarray(z))), 0, weights=alpha)


def _pass(rule: Callable[..., tuple[float, float]]) -> Callable[[Floats, Floats], Floats]:
    """A pass in which ``rule(V, p, c, alpha)`` gives the gradient of a class and the next pot."""

    def one_pass(z: Floats, alpha: Floats) -> Floats:
        odds, out, pot = reference.log_odds_against(np.asarray(z, float)), [], 0.0
        for p, c, a in zip(expit(-odds), expit(odds), alpha, strict=True):
            g, pot = rule(pot, p, c, a)
            out.append(g)
        return np.array(out)

    return one_pass


ONE_PASS = Code(
    heading="03.4 the gradient in one pass · core · 14 minutes",
    right=_gradient,
    cases=(
        ([1.0, 2.0], [0.6, 0.4]),
        ([1.0, 0.5, 2.0], [0.2, 0.7, 0.1]),
        ([-1.0, 0.5, 2.0, -3.0, 1.5], [0.1, 0.5, 0.2, 0.15, 0.05]),
        ([1000.0, 1001.0, 999.5], [0.5, 0.3, 0.2]),
        ([120.0, 80.0, 40.0, 0.0], [0.3, 0.4, 0.2, 0.1]),
    ),
    atol=1e-30,
    praise="C steps instead of C^2, and no subtraction from 1.",
    mistakes=(
        wrong("push-for-gradient", lambda z, alpha: -_gradient(z, alpha))(
            "This is the push, minus the gradient.", "Turn the sign round."
        ),
        wrong("weights-forgotten", lambda z, alpha: _gradient(z, np.ones(len(z))))(
            "Every choice weighs 1: this is ListMLE.", "Where does alpha[k] enter?"
        ),
        wrong("pot-never-shrinks", _pass(lambda V, p, c, a: (V * p - a * c, V + a)))(
            "Nothing is ever taken out of the pot.", "The next V is (V + alpha) times c."
        ),
        wrong("pot-updated-first", _pass(lambda V, p, c, a: (c * (p * (V + a) - a), c * (V + a))))(
            "g_k is computed with the pot after choice k.", "First g, then the new V."
        ),
        wrong("one-minus-p", _pass(lambda V, p, _, a: (V * p - a * (1 - p), (V + a) * (1 - p))))(
            "Right up to rounding, but once the student is confident, 1 - p is 0 and signs flip.",
            "Compute c by itself, from the log-odds; never as 1 - p.",
        ),
    ),
)


def _rank_order(s: Any, t: Any, y: Any, temperature: float = 1.0) -> Floats:
    g = reference.pld_gradient(s, t, y, temperature=temperature)
    return np.take_along_axis(g, reference.teacher_ranking(t, y), axis=-1)


def _test_all_of_it(answer: Any) -> str | None:
    """The checker's test, and one with more ties: NumPy's sort of few is stable by accident."""
    passes_check_loss("numpy", functions=2, strict="other-ties")(answer)
    batch = np.arange(40.0)[None], np.arange(40.0)[None] % 3, np.array([0])
    right = np.isclose(call(answer[0], *batch), reference.pld_loss(*batch), rtol=1e-9)
    return None if right else "other-ties"


AS_IN_KD = wrong_pld(student_temperature=True, tau_power=2)
ALL_OF_IT = Code(
    heading="03.5 all of it · core · 20 minutes",
    test=_test_all_of_it,
    praise="The checker finds no mistake. Yours, the reference and 60-digit arithmetic agree.",
    mistakes=(
        wrong("weights-not-permuted", wrong_pld(weights_order="class"))(),
        wrong("sum-over-batch", wrong_pld(over_batch="sum"))(),
        wrong("student-temperature + temperature-squared", AS_IN_KD)(
            "", "Both are habits from KD; in PLD the temperature only touches the weights."
        ),
        wrong("gradient-wrong", (wrong_pld()[0], _rank_order))(
            "", "Is it in the order of the classes, g[n, pi] = ..., and divided by the rows?"
        ),
        wrong("other-ties", wrong_pld(reverse_ties=True))(
            "Ties are not ranked by class index.", 'np.argsort has kind="stable".'
        ),
    ),
)


def _test_label_loses(answer: Any) -> str | None:
    """Whether the label's probability falls along the first step of descent."""
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        raise NotYet("  Hand in three things: student logits, teacher logits, label.")
    s, t, y = (np.asarray(part) for part in answer)
    try:
        push = -reference.pld_gradient(s, t, y)
    except (ValueError, TypeError) as error:
        raise NotYet(f"  The reference refuses these inputs: {error}") from None
    if push.ndim != 1:
        raise NotYet("  Hand in one row: logits of shape [C] and one label.")
    p = softmax(s.astype(float))
    change = p[y] * (push[y] - p @ push)
    return "label-gains" if change > 1e-4 else "hardly-moves" if change > -1e-4 else None


LABEL_LOSES = Code(
    heading="03.6 can the label lose? · challenge · 12 minutes",
    test=_test_label_loses,
    praise="The label's logit never falls, but another one may rise faster.",
    mistakes=(
        wrong("hardly-moves", ([0.0, 40.0, -40.0], [0.0, 1.0, -1.0], 1))(
            "Its probability hardly changes here.", "Take a label that the student finds plausible."
        ),
        wrong("label-gains", (np.log([1, 3, 6, 2]), np.log([1, 2, 3, 4]), 2))(
            "Here the label's probability rises.", "Let the teacher hardly believe in it."
        ),
    ),
)

EXERCISES = (THE_BILL, LABEL_GRADIENT, COSTS, ONE_PASS, ALL_OF_IT, LABEL_LOSES)
