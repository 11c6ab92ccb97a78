"""Exercises for notebook 03: the PLD loss by pencil, its digits, its gradient, all of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logsumexp, softmax

from pld_edu import reference
from pld_edu.check.findings import BY_NAME
from pld_edu.check.recipes import Recipe, loss
from pld_edu.reference.validation import Floats

from .calling import NotYet
from .kinds import AnswerExercise, FunctionExercise, JudgedExercise, LossExercise, Mistake
from .wrong_losses import one_case, wrong_pld

TEACHER_WORTHS, STUDENT_WORTHS, CAT = (10, 3, 2, 5), (1, 4, 1, 2), 1  # fox, cat, dog, bird


def _by_pencil(name: str, **changes: Any) -> Mistake:
    """A mistake of the checker's list, with the number it leads to here."""
    case = one_case(np.log(STUDENT_WORTHS), np.log(TEACHER_WORTHS), CAT)
    wrong = float(loss(Recipe(**changes), case).real)
    return Mistake(name, wrong, _as_clause(BY_NAME[name].sentence), BY_NAME[name].fix)


def _as_clause(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


THE_BILL = AnswerExercise(
    title="03.1 the bill",
    level="warm-up",
    minutes=7,
    right=float(reference.pld_loss(np.log(STUDENT_WORTHS), np.log(TEACHER_WORTHS), CAT)),
    hint="four lines: who is chosen, from whom, with which share, and how much does it weigh?",
    then="0.15 ln 2 + 0.5 ln 4 + 0.25 ln (3/2). More than three quarters are owed for the fox.",
    mistakes=(
        _by_pencil("label-not-first", label="sorted"),
        _by_pencil("label-last", label="last"),
        _by_pencil("tail-ascending", direction="ascending"),
        _by_pencil("not-sorted", sort_by="class"),
        _by_pencil("order-by-student", sort_by="student"),
        _by_pencil("prefix-sums", tail="earlier"),
        _by_pencil("full-softmax", tail="all"),
        _by_pencil("weights-not-permuted", weights_order="class"),
        _by_pencil("weights-sorted", weights_order="sorted"),
        _by_pencil("uniform-weights", weights="ones"),
        _by_pencil("renormalised-tail", weights="renormalised tail"),
        _by_pencil("label-weight-one", weights="label one"),
        _by_pencil("label-term-only", weights="label only"),
        _by_pencil("cross-entropy-only", weights="one-hot"),
        _by_pencil("student-weights", weights="student"),
        _by_pencil("mean-over-classes", over_classes="mean"),
    ),
)

LABEL_GRADIENT = AnswerExercise(
    title="03.2 what the label feels",
    level="warm-up",
    minutes=4,
    right=-0.12,
    hint="only the first choice concerns the label: alpha_1 (sigma_1 - 1).",
    then="it is cross-entropy's gradient, -0.2, times the teacher's probability of the label.",
    mistakes=(
        Mistake(
            "sign",
            0.12,
            "this is the push; the gradient points the other way.",
            "Descent subtracts the gradient, and the label's logit should rise.",
        ),
        Mistake(
            "cross-entropy",
            -0.2,
            "this is cross-entropy's gradient, 0.8 - 1.",
            "How much does PLD let the choice of the label weigh?",
        ),
        Mistake(
            "matching-probabilities",
            0.2,
            "student minus teacher is the gradient of KD; it would push the label *down*.",
            "PLD asks for the label first; a student can never be too sure of it.",
        ),
        Mistake(
            "share-for-doubt",
            -0.48,
            "the weight is multiplied by the student's probability of the label.",
            "It is the probability of *not* choosing the label that is multiplied.",
        ),
        Mistake(
            "doubt-for-weight",
            -0.08,
            "0.4 is the teacher's doubt; the weight is the teacher's probability of the label.",
            "alpha_1 is the teacher's softmax at the label.",
        ),
    ),
)


def _costs(z: ArrayLike) -> Floats:
    return np.logaddexp(0.0, reference.log_odds_against(np.asarray(z, float)))


def _tail_by_tail(one: Callable[[Floats], Any]) -> Callable[[ArrayLike], Floats]:
    """A function of z that treats each tail by itself."""

    def costs(z: ArrayLike) -> Floats:
        z = np.asarray(z, float)
        return np.array([one(z[k:]) for k in range(len(z))])

    return costs


def _literal(tail: Floats) -> Any:
    return -tail[0] + np.log(np.exp(tail).sum())


def _largest_first(z: ArrayLike) -> Floats:
    z = np.asarray(z, float)
    return _tail_by_tail(_literal)(z - z.max())


def _prefixes(z: ArrayLike) -> Floats:
    z = np.asarray(z, float)
    return np.logaddexp.accumulate(z) - z


def _among_all(z: ArrayLike) -> Floats:
    z = np.asarray(z, float)
    return logsumexp(z) - z


COSTS = FunctionExercise(
    title="03.3 costs that survive",
    level="core",
    minutes=12,
    right=_costs,
    agrees_with="reference.log_odds_against",
    cases=(
        ([1.0, 2.0],),
        ([1.8, 0.7, 1.1, 0.0],),
        ([-1.0, 0.5, 2.0, -3.0, 1.5],),
        ([1000.0, 1001.0, 999.5],),
        ([1000.0, 0.0, 1.0, -3.0],),
        ([0.0, 900.0, 3.0],),
        ([120.0, 80.0, 40.0, 0.0],),
    ),
    atol=1e-30,
    then="Even 4e-18 has all its digits.",
    mistakes=(
        Mistake(
            "prefix-sums",
            _prefixes,
            "the sum at rank k runs over the ranks up to k, not from k on.",
            "What has been chosen is gone; what comes later is still there.",
        ),
        Mistake(
            "full-softmax",
            _among_all,
            "every choice is made among all classes.",
            "The sum at rank k starts at rank k.",
        ),
        Mistake(
            "log-odds",
            lambda z: reference.log_odds_against(np.asarray(z, float)),
            "these are the log-odds against each choice, not yet its cost.",
            "One more step: log(1 + e^o), without overflow.",
        ),
        Mistake(
            "literal",
            _tail_by_tail(_literal),
            "the formula is taken literally, and e^1000 overflows.",
            "Subtract the chosen logit from its tail before you take exponentials.",
        ),
        Mistake(
            "largest-first",
            _largest_first,
            "with the largest logit of all taken out, later tails underflow to 0: log 0.",
            "Every tail needs its own shift.",
        ),
        Mistake(
            "log1p-of-sum",
            _tail_by_tail(lambda tail: np.log1p(np.exp(tail[1:] - tail[0]).sum())),
            "small costs are right, but the exponential overflows where a later logit is 900 "
            "ahead.",
            "np.logaddexp takes the logarithm of a sum of exponentials without forming them.",
        ),
        Mistake(
            "small-difference",
            _tail_by_tail(lambda tail: logsumexp(tail) - tail[0]),
            "nothing overflows, but a logsumexp of about 120 minus 120 leaves no digit of 4e-18.",
            "Take the chosen class out of the sum, and subtract its logit before summing.",
        ),
    ),
)


def _gradient(z: ArrayLike, alpha: ArrayLike) -> Floats:
    in_order = -np.arange(len(np.asarray(z)))
    return reference.pld_gradient(z, in_order, 0, weights=alpha)


def _stick(
    pay: Callable[..., Any], pot_after: Callable[..., Any]
) -> Callable[[ArrayLike, ArrayLike], Floats]:
    """One pass with other rules for what a class gets and what the pot becomes."""

    def one_pass(z: ArrayLike, alpha: ArrayLike) -> Floats:
        odds, a = reference.log_odds_against(np.asarray(z, float)), np.asarray(alpha, float)
        out, pot = np.empty(len(a)), 0.0
        for k, (p, c) in enumerate(zip(expit(-odds), expit(odds), strict=True)):
            out[k] = pay(pot, p, c, a[k])
            pot = pot_after(pot, p, c, a[k])
        return out

    return one_pass


def _pay(pot: float, p: float, c: float, a: float) -> float:
    return pot * p - a * c


def _pot(pot: float, p: float, c: float, a: float) -> float:
    return (pot + a) * c


ONE_PASS = FunctionExercise(
    title="03.4 the gradient in one pass",
    level="core",
    minutes=14,
    right=_gradient,
    agrees_with="reference.pld_gradient",
    cases=(
        ([1.0, 2.0], [0.6, 0.4]),
        ([1.0, 0.5, 2.0], [0.2, 0.7, 0.1]),
        ([1.8, 0.7, 1.1, 0.0], [0.3, 0.4, 0.2, 0.1]),
        ([-1.0, 0.5, 2.0, -3.0, 1.5], [0.1, 0.5, 0.2, 0.15, 0.05]),
        ([1000.0, 1001.0, 999.5], [0.5, 0.3, 0.2]),
        ([120.0, 80.0, 40.0, 0.0], [0.3, 0.4, 0.2, 0.1]),
    ),
    atol=1e-30,
    then="C steps instead of C^2, and no subtraction from 1.",
    mistakes=(
        Mistake(
            "push-for-gradient",
            lambda z, alpha: -_gradient(z, alpha),
            "this is the push, minus the gradient.",
            "Turn the sign round.",
        ),
        Mistake(
            "empty-pot",
            _stick(lambda pot, p, c, a: -a * c, _pot),
            "each class is paid for its own choice, and nobody pays.",
            "Add what earlier choices take: the share p of the pot.",
        ),
        Mistake(
            "pot-not-passed-on",
            _stick(_pay, lambda pot, p, c, a: pot + a * c),
            "what a class has paid stays in the pot as a debt.",
            "The pot, too, shrinks by the share that was paid: it is multiplied by c.",
        ),
        Mistake(
            "pot-never-shrinks",
            _stick(_pay, lambda pot, p, c, a: pot + a),
            "the whole weight goes into the pot, and nothing is ever taken out.",
            "What goes on to the classes behind is (V + alpha) times c.",
        ),
        Mistake(
            "late-pot",
            _stick(lambda pot, p, c, a: (pot + a) * p - a, lambda pot, p, c, a: pot * c + a),
            "the new weight enters the pot unshrunk.",
            "The factor c holds for the old pot and for the new weight.",
        ),
        Mistake(
            "p-and-c-swapped",
            _stick(lambda pot, p, c, a: pot * c - a * p, lambda pot, p, c, a: (pot + a) * p),
            "chosen and not chosen are confused.",
            "p = expit(-odds against), c = expit(odds against).",
        ),
        Mistake(
            "weights-forgotten",
            lambda z, alpha: _gradient(z, np.ones(len(np.asarray(z)))),
            "every choice weighs 1: the gradient of ListMLE.",
            "Where does alpha[k] enter?",
        ),
        Mistake(
            "one-minus-p",
            _stick(
                lambda pot, p, c, a: pot * p - a * (1 - p), lambda pot, p, c, a: (pot + a) * (1 - p)
            ),
            "right up to rounding, but once the student is confident, 1 - p is 0 and signs flip.",
            "Compute c by itself, from the log-odds; never as 1 - p.",
        ),
    ),
)


def _right_loss(s: Any, t: Any, y: Any, temperature: float = 1.0) -> Any:
    return reference.pld_loss(s, t, y, temperature=temperature)


def _rank_order(s: Any, t: Any, y: Any, temperature: float = 1.0) -> Floats:
    g = reference.pld_gradient(s, t, y, temperature=temperature)
    return np.take_along_axis(g, reference.teacher_ranking(t, y), axis=-1)


ALL_OF_IT = LossExercise(
    title="03.5 all of it",
    level="core",
    minutes=20,
    gradient=True,
    strict=("other-ties",),
    then="Yours, the reference and 60-digit arithmetic say the same.",
    mistakes=(
        Mistake("label-not-first", wrong_pld(label="sorted")),
        Mistake("tail-ascending", wrong_pld(direction="ascending")),
        Mistake("weights-not-permuted", wrong_pld(weights_order="class")),
        Mistake("renormalised-tail", wrong_pld(weights="renormalised tail")),
        Mistake("temperature-ignored", wrong_pld(weight_temperature="ignored")),
        Mistake("student-temperature", wrong_pld(student_temperature=True)),
        Mistake(
            "student-temperature + temperature-squared",
            wrong_pld(student_temperature=True, tau_power=2),
            hint="Both are habits from KD; in PLD the temperature only touches the weights.",
        ),
        Mistake("sum-over-batch", wrong_pld(over_batch="sum")),
        Mistake("extra-cross-entropy", wrong_pld(extra="ce after")),
        Mistake(
            "gradient-wrong",
            (_right_loss, _rank_order),
            hint="Is the gradient in the order of the classes? g[n, pi] = ... puts it there. And "
            "is it divided by the number of rows, like the loss?",
        ),
        Mistake(
            "other-ties",
            wrong_pld(reverse_ties=True),
            hint='Equal teacher logits: np.argsort(-key, kind="stable") keeps the lower index '
            "first.",
        ),
    ),
)


def _judge_label_loses(answer: Any) -> str | None:
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
    if change < -1e-4:
        return None
    return "hardly-moves" if abs(change) < 1e-4 else "label-gains"


SHIBA = (np.log([1, 3, 6, 2]), np.log([1, 2, 3, 4]), 2)
LABEL_LOSES = JudgedExercise(
    title="03.6 can the label lose?",
    level="challenge",
    minutes=12,
    verdict=_judge_label_loses,
    then="the label's logit never falls, but another one may rise faster.",
    mistakes=(
        Mistake(
            "hardly-moves",
            ([0.0, 40.0, -40.0], [0.0, 1.0, -1.0], 1),
            "the label's probability changes by less than 1e-4 for a step of 1.",
            "Nothing can be lost or won near 0 and 1; take a label that the student finds "
            "plausible.",
        ),
        Mistake(
            "label-gains",
            SHIBA,
            "here the label's probability rises.",
            "Take a teacher that hardly believes in the label, so that the later choices weigh "
            "most. Which class do they lift?",
        ),
    ),
)

EXERCISES = (THE_BILL, LABEL_GRADIENT, COSTS, ONE_PASS, ALL_OF_IT, LABEL_LOSES)
