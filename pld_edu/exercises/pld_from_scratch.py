"""Exercises for notebook 03: the PLD loss by pencil, its gradient, all of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logsumexp, softmax

from pld_edu import reference

from .calling import Floats, NotYet, call
from .kinds import Code, Values, wrong
from .pld_losses import passes_check_loss, wrong_pld


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
    heading="03.1 the gradient in one pass · core · 14 minutes",
    right=_gradient,
    cases=(
        ([1.0, 2.0], [0.6, 0.4]),
        ([1.0, 0.5, 2.0], [0.2, 0.7, 0.1]),
        ([-1.0, 0.5, 2.0, -3.0, 1.5], [0.1, 0.5, 0.2, 0.15, 0.05]),
        ([1000.0, 1001.0, 999.5], [0.5, 0.3, 0.2]),
    ),
    praise="C steps instead of C^2.",
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
    heading="03.2 all of it · core · 20 minutes",
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
    heading="03.3 can the label lose? · challenge · 12 minutes",
    test=_test_label_loses,
    praise="The label's logit never falls, but another one may rise faster.",
    mistakes=(
        wrong("hardly-moves", ([0.0, 40.0, -40.0], [0.0, 1.0, -1.0], 1))(
            "Its probability hardly changes here.",
            "Take a label that the student finds plausible, and rivals that differ for it.",
        ),
        wrong("label-gains", (np.log([1, 3, 6, 2]), np.log([1, 2, 3, 4]), 2))(
            "Here the label's probability rises.", "Let the teacher hardly believe in it."
        ),
    ),
)

EXERCISES = (ONE_PASS, ALL_OF_IT, LABEL_LOSES)

SHIBA = np.log([1.0, 3, 6, 2]), np.log([1.0, 2, 3, 4]), 2  # car, cat, dog, fox; label dog
OTHER = np.array([0.5, -1.0, 2.0, 0.1, 1.0]), np.array([0.3, 2.0, 2.0, 1.0, 0.7]), 2, 2.0


def _sorted_with(label_logit: Callable[[Floats, int], float]) -> Callable[[Floats, int], Any]:
    return lambda t, y: np.argsort(
        -np.where(np.arange(len(t)) == y, label_logit(t, y), t), kind="stable"
    )


RANKING = Code(
    heading="03.a the ranking",
    right=reference.teacher_ranking,
    cases=(SHIBA[1:], OTHER[1:3], (np.array([900.0, -3.0]), 1)),
    praise="One sort, and the label needs no special place in the code.",
    mistakes=(
        wrong("label-last", _sorted_with(lambda t, y: -np.inf))(
            "The label comes last.", "The code sorts -key upwards, so the largest key comes first."
        ),
        wrong("teachers-own-order", _sorted_with(lambda t, y: t[y]))(
            "The label stays where the teacher puts it.", "Its key has to beat all others."
        ),
        wrong("not-large-enough", _sorted_with(lambda t, y: 9.0), _sorted_with(lambda t, y: 99.0))(
            "Some teacher's logit is larger.", "Which number is larger than every other?"
        ),
    ),
)

WEIGHTS = Code(
    heading="03.b the weights",
    right=lambda t, pi, tau=1.0: softmax(t / tau)[pi],
    cases=((SHIBA[1], np.array([2, 3, 1, 0])), (OTHER[1], np.array([2, 1, 3, 4, 0]), 2.0)),
    praise="Dog 0.3, fox 0.4, cat 0.2, car 0.1 for the Shiba Inu.",
    mistakes=(
        wrong("weights-not-permuted", lambda t, pi, tau=1.0: softmax(t / tau))(
            "These are in the order of the classes.", "Entry k belongs to class pi[k]."
        ),
        wrong("sorted", lambda t, pi, tau=1.0: np.sort(softmax(t / tau))[::-1])(
            "These fall from rank to rank.", "The label keeps its own weight, large or small."
        ),
    ),
)


def _costs(z: Any) -> Floats:
    return np.logaddexp(0.0, reference.log_odds_against(np.array(z)))


TAIL_COSTS = Code(
    heading="03.c the costs",
    right=_costs,
    cases=((np.log([6.0, 2, 3, 1]),), (np.array([-1.0, 0.5, 2.0, -3.0, 1.5]),)),
    praise="ln 2, ln 3, ln 4/3 and 0: the last choice is free.",
    mistakes=(
        wrong("prefix-sums", lambda z: np.logaddexp.accumulate(z) - z)(
            "The sum at rank k runs up to k.", "Sum what is left: z[k:]."
        ),
        wrong("full-softmax", lambda z: logsumexp(z) - z)(
            "Every choice is made among all classes.", "The sum at rank k starts at rank k."
        ),
        wrong("sign", lambda z: -_costs(z))(
            "These are log-probabilities.", "A cost is minus that, and never negative."
        ),
    ),
)


def _student_in_class_order(s: Floats, t: Floats, y: int, tau: float = 1.0) -> Any:
    back = np.argsort(reference.teacher_ranking(t, y))
    return reference.pld_loss(s[back], t, y, temperature=tau)


THE_SUM = Code(
    heading="03.d the sum",
    right=lambda s, t, y, tau=1.0: reference.pld_loss(s, t, y, temperature=tau),
    cases=(SHIBA, OTHER),
    praise="0.7049 for the Shiba Inu. You have written PLD.",
    mistakes=(
        wrong("student-not-permuted", _student_in_class_order)(
            "The costs are those of s as it comes.", "costs wants the order of the ranking."
        ),
        wrong("weights-forgotten", lambda s, t, y, tau=1.0: reference.list_mle(s, t, y))(
            "Every choice weighs 1.", "Multiply each cost by its weight."
        ),
        wrong("temperature-forgotten", lambda s, t, y, tau=1.0: reference.pld_loss(s, t, y))(
            "The temperature does nothing.", "Hand tau on to the weights."
        ),
    ),
)

CATS_BUCKET = Values(
    heading="03.e the bucket of cat",
    right={"V_cat": 0.15 * 2 / 3 + 0.4 * 2 / 3},
    hint="What fox leaves in the bucket, plus what fox is raised by: 0.4 (1 - 1/3).",
    praise="0.100 passed on, and 0.267 from fox itself.",
    mistakes=(
        wrong("nothing-taken", 0.15 + 0.4 * 2 / 3)("Fox has not taken its third.", "0.150 less?"),
        wrong("nothing-put-in", 0.1)("This is what fox leaves.", "What does fox put in?"),
        wrong("only-put-in", 0.4 * 2 / 3)("This is what fox puts in.", "What was there before?"),
        wrong("weight-put-in", 0.1 + 0.4)(
            "Fox puts in its whole weight.", "It is raised by 0.4 times 1 - 1/3."
        ),
    ),
)

FILL_INS = (RANKING, WEIGHTS, TAIL_COSTS, THE_SUM, CATS_BUCKET)
