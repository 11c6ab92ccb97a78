"""Exercises for notebook 06: digits, ties, masks and autograd."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pld_edu import losses

from .calling import call
from .kinds import FunctionExercise, LossExercise, Mistake
from .parts import ChoicesExercise, PartsExercise

INF = float("inf")
SINGLE, DOUBLE = 24 * np.log(2), 53 * np.log(2)

digits = PartsExercise(
    title="06.1 where one minus p ends",
    level="warm-up",
    minutes=8,
    parts=("gap_float32", "gap_float64"),
    right=(SINGLE, DOUBLE),
    rtol=5e-3,
    hint="p = 1 / (1 + exp(-d)): from which exp(-d) on does 1 + exp(-d) round to 1?",
    then="A gap of 17 is an ordinary day in training, and 1 - p says the gradient is 0 there.",
    mistakes=(
        Mistake(
            "no-rounding",
            (23 * np.log(2), 52 * np.log(2)),
            "this is log(1 / eps), but a sum is rounded to the nearest number.",
            "1 + x becomes 1 for all x up to half the spacing above 1.",
        ),
        Mistake(
            "base-ten",
            (24 * np.log10(2), 53 * np.log10(2)),
            "this counts decimal digits, but the exponential has base e.",
            "Solve exp(-d) = 2^-24.",
        ),
        Mistake(
            "underflow",
            (-float(np.log(np.finfo(np.float32).smallest_subnormal)), DOUBLE),
            "this is where exp(-d) itself becomes 0; 1 - p dies long before.",
            "exp(-d) is added to 1 on the way.",
        ),
    ),
)

SEEN = frozenset("ceg")

gradcheck = ChoicesExercise(
    title="06.2 what gradcheck sees",
    level="warm-up",
    minutes=6,
    options=tuple("abcdefg"),
    right=SEEN,
    hint="It compares the gradient with difference quotients of the same function, in float64.",
    then="It knows your function only; whether that is the paper's, only a value can tell.",
    mistakes=(
        Mistake(
            "wrong-formula",
            SEEN ^ {"a"},
            "(a) a wrong ranking is differentiated as properly as the right one.",
            "With what is the gradient compared?",
        ),
        Mistake(
            "leak",
            SEEN ^ {"b"},
            "(b) only the student was handed in, so nobody looks at the teacher's gradient.",
            "For which inputs does it take difference quotients?",
        ),
        Mistake(
            "sign",
            SEEN ^ {"c"},
            "(c) the difference quotient has one sign, the written backward the other.",
            "A custom backward is just what gradcheck is for.",
        ),
        Mistake(
            "single-precision",
            SEEN ^ {"d"},
            "(d) in float64 these digits are not lost, and gradcheck asks for float64.",
            "In which precision does it run?",
        ),
        Mistake(
            "cut-path",
            SEEN ^ {"e"},
            "(e) the value depends on the student along a path that the gradient leaves out.",
            "detach() changes the gradient and not the value.",
        ),
        Mistake(
            "wrong-weights",
            SEEN ^ {"f"},
            "(f) weights in the wrong order are constants all the same.",
            "Is it another function, or the same with a wrong derivative?",
        ),
        Mistake(
            "chain-rule",
            SEEN ^ {"g"},
            "(g) PyTorch multiplies the incoming gradient in and notices that yours does not.",
            "What must a backward return if the incoming gradient is 0?",
        ),
    ),
)


def value_and_gradient(f: Callable[..., Any], s: Tensor, *rest: Tensor) -> Any:
    """Value of ``f(s, *rest)`` and the gradient of its sum in s, as a learner's function."""

    def run(s: Tensor, *rest: Tensor) -> Any:
        leaf = s.clone().requires_grad_()
        value = f(leaf, *rest)
        if value is None:
            return None
        if not isinstance(value, Tensor):
            raise TypeError(f"it should return a tensor, not {type(value).__name__}")
        if value.requires_grad:
            value.sum().backward()
        slope = torch.zeros_like(s) if leaf.grad is None else leaf.grad
        return {"value": value.detach(), "gradient": slope}

    run.__name__ = getattr(f, "__name__", "your function")
    return call(run, s, *rest)


def choice_cost(s: Tensor, tail: Tensor) -> Tensor:
    """log(1 + exp(tail - s)) to all digits."""
    return torch.logaddexp(torch.zeros_like(s), tail - s)


def _pairs(*pairs: tuple[float, float]) -> tuple[Tensor, Tensor]:
    s, tail = torch.tensor(pairs, dtype=torch.float64).unbind(-1)
    return s, tail


cost = FunctionExercise(
    title="06.3 the cost of a choice",
    level="core",
    minutes=10,
    right=choice_cost,
    cases=(
        _pairs((1.0, 2.0)),
        _pairs((0.0, 0.0), (-3.0, 1.0), (2.0, -1.0)),
        _pairs((1000.0, 960.0), (30.0, -5.0)),
        _pairs((-10.0, 10.5)),
        _pairs((-360.0, 360.0), (0.0, 1e4)),
    ),
    agrees_with="log(1 + exp(tail - s)), in value and gradient,",
    measure=value_and_gradient,
    rtol=1e-10,
    atol=0.0,
    digits_matter=True,
    then="Small where the choice is easy, straight where it is hopeless, no digit lost between.",
    mistakes=(
        Mistake(
            "difference-of-large-numbers",
            lambda s, tail: torch.logaddexp(s, tail) - s,
            "R - s subtracts two large numbers, and a small cost drowns in their rounding.",
            "Subtract s first, while nothing is lost yet.",
        ),
        Mistake(
            "plain-exponential",
            lambda s, tail: (1 + (tail - s).exp()).log(),
            "exp overflows for a hopeless choice, and 1 + exp forgets an easy one.",
            "Which function of PyTorch is log(exp(a) + exp(b))?",
        ),
        Mistake(
            "log1p-overflows",
            lambda s, tail: (tail - s).exp().log1p(),
            "log1p saves the small costs, but exp still overflows for the large ones.",
            "What should come out for tail - s = 10000?",
        ),
        Mistake(
            "softplus-threshold",
            lambda s, tail: F.softplus(tail - s),
            "softplus answers x itself above 20, and its gradient is 1 there.",
            "Its threshold costs 2e-9 just above 20; is there a function without one?",
        ),
        Mistake(
            "probability-first",
            lambda s, tail: -torch.stack([s, tail], -1).softmax(-1)[..., 0].log(),
            "a probability near 1 has lost the cost, and one of 0 has no logarithm.",
            "Stay in logarithms all the way.",
        ),
        Mistake(
            "eps-in-the-logarithm",
            lambda s, tail: -((s - tail).sigmoid() + 1e-10).log(),
            "with 1e-10 in the logarithm no choice costs more than 23, and easy ones less than 0.",
            "Stay in logarithms; then there is nothing to guard.",
        ),
    ),
)


def ranking_and_input(f: Callable[..., Any], t: Tensor, y: Tensor) -> Any:
    """A learner's ranking, and whether the teacher's logits were left as they were."""

    def run(t: Tensor, y: Tensor) -> Any:
        before = t.clone()
        ranking = f(t, y)
        if ranking is None:
            return None
        return {"ranking": ranking, "teacher changed": not torch.equal(before, t)}

    run.__name__ = getattr(f, "__name__", "your function")
    return call(run, t, y)


def _label_first(t: Tensor, y: Tensor, order: Tensor) -> Tensor:
    others = order[order != y[:, None]].reshape(len(t), -1)
    return torch.cat([y[:, None], others], dim=-1)


def _reversed_ties(t: Tensor, y: Tensor) -> Tensor:
    return _label_first(t, y, t.argsort(dim=-1, stable=True).flip(-1))


def _raised(t: Tensor, y: Tensor) -> Tensor:
    top = t.amax(dim=-1, keepdim=True) + 1
    return t.scatter(-1, y[:, None], top).argsort(dim=-1, descending=True, stable=True)


def _in_place(t: Tensor, y: Tensor) -> Tensor:
    return t.scatter_(-1, y[:, None], INF).argsort(dim=-1, descending=True, stable=True)


HALF = torch.tensor([[300.0, 298.0, 300.0, 1.0], [0.5, 0.5, 0.25, 0.5]], dtype=torch.bfloat16)

ties = FunctionExercise(
    title="06.4 a ranking that survives ties",
    level="core",
    minutes=12,
    right=losses.teacher_ranking,
    cases=(
        (torch.tensor([[0.5, 2.0, -1.0]]), torch.tensor([2])),
        (torch.tensor([[1.0, 1.0, 1.0, 0.0], [0.0, 3.0, 3.0, -2.0]]), torch.tensor([3, 2])),
        (torch.tensor([[0.1, 0.4, 0.2], [3.0, 1.0, 2.0]]), torch.tensor([0, 1])),
        (HALF, torch.tensor([2, 0])),
    ),
    agrees_with="losses.teacher_ranking",
    measure=ranking_and_input,
    then="Label first, then by falling logit, equal ones by class index; one sort does all of it.",
    mistakes=(
        Mistake(
            "ties-reversed",
            _reversed_ties,
            "equal logits come with the higher class index first.",
            "A sort upwards, read backwards, turns the ties round as well.",
        ),
        Mistake(
            "label-not-first",
            lambda t, y: t.argsort(dim=-1, descending=True, stable=True),
            "this is the teacher's own order; the label stays where the teacher has it.",
            "Which key would make the label win every comparison?",
        ),
        Mistake(
            "label-twice",
            lambda t, y: torch.cat([y[:, None], t.sort(-1, descending=True).indices], -1),
            "the label is put in front and still stands among the others.",
            "The result has C + 1 columns.",
        ),
        Mistake(
            "ranks-not-classes",
            lambda t, y: losses.teacher_ranking(t, y).argsort(dim=-1),
            "these are the ranks of the classes; wanted are the classes by rank.",
            "One argsort too many.",
        ),
        Mistake(
            "raised-by-one",
            _raised,
            "the label's logit is set to the maximum plus 1, which in bfloat16 is the maximum.",
            "300 + 1 is 300 there. Which key is above every number?",
        ),
        Mistake(
            "teacher-changed",
            _in_place,
            "the ranking is right, but the caller's teacher logits have an infinity in them now.",
            "PyTorch methods with a trailing underscore write into their tensor.",
        ),
    ),
)


def _odds(s: Tensor, t: Tensor, y: Tensor, floor: float | None = None) -> Tensor:
    """The loss of notebook 06, case 2; a floor stands in for the student's -inf."""
    if floor is not None:
        s = torch.where(s.isneginf() & t.isneginf(), floor, s)
    s = s - s.max()
    ranking = losses.teacher_ranking(t, y)
    s, alpha = s[ranking], t.detach().softmax(-1)[ranking]
    tails = s.flip(-1).logcumsumexp(-1).flip(-1)
    against = tails[1:] - s[:-1]
    return alpha[:-1] * torch.logaddexp(torch.zeros_like(against), against)


def _case(s: list[float], t: list[float], y: int) -> tuple[Tensor, Tensor, Tensor]:
    s_and_t = torch.tensor([s, t], dtype=torch.float64)
    return s_and_t[0], s_and_t[1], torch.tensor(y)


masks = FunctionExercise(
    title="06.5 masked classes",
    level="core",
    minutes=15,
    right=losses.pld_loss,
    cases=(
        _case([1.0, -INF, 3.0], [0.5, -INF, -1.0], 2),
        _case([1.0, -INF, 3.0, -INF, 0.0], [0.5, -INF, -1.0, -INF, 2.0], 0),
        _case([-INF, -2e4, 0.0, -2e4 - 2], [-INF, 3.0, 1.0, 2.0], 2),
        _case([1.0, 2.0, 3.0], [0.5, 2.0, -1.0], 2),
    ),
    agrees_with="the loss of the classes that are left, in value and gradient,",
    measure=value_and_gradient,
    rtol=1e-7,
    atol=1e-12,
    then="The mask was applied before any arithmetic, so autograd never meets an infinity.",
    mistakes=(
        Mistake(
            "no-mask",
            lambda s, t, y: _odds(s, t, y).sum(),
            "nothing is done about -inf, and -inf minus -inf is nan.",
            "Which differences meet two masked classes?",
        ),
        Mistake(
            "where-after",
            lambda s, t, y: torch.where((a := _odds(s, t, y)).isfinite(), a, 0.0).sum(),
            "the value is right and the gradient nan: where() came after the arithmetic.",
            "Replace -inf in the inputs, before the first subtraction.",
        ),
        Mistake(
            "floor-too-high",
            lambda s, t, y: _odds(s, t, y, floor=-1e4).sum(),
            "the number that stands in for -inf lies above real logits, and the class competes.",
            "How low can a student's logit be? Go far below.",
        ),
    ),
)


def wrong_pld(
    *,
    detach: bool = True,
    permuted: bool = True,
    flipped: bool = True,
    softmax_axis: int = -1,
    student_tau: bool = False,
    eps: float | None = None,
) -> Callable[..., Tensor]:
    """A PLD for [N, C] with one line of it changed."""

    def pld(s: Tensor, t: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        t = t.detach() if detach else t
        ranking = losses.teacher_ranking(t, y)
        q = (t / temperature).softmax(dim=softmax_axis)
        alpha = q.gather(-1, ranking) if permuted else q
        z = (s / temperature if student_tau else s).gather(-1, ranking)
        if eps is not None:
            e = (z - z.amax(dim=-1, keepdim=True)).exp()
            steps = -(e / e.flip(-1).cumsum(-1).flip(-1) + eps).log()
        elif flipped:
            steps = z.flip(-1).logcumsumexp(-1).flip(-1) - z
        else:
            steps = z.logcumsumexp(-1) - z
        rows = (alpha * steps).sum(dim=-1) * (temperature**2 if student_tau else 1)
        return rows.mean()

    return pld


whole = LossExercise(
    title="06.6 PLD in PyTorch",
    level="challenge",
    minutes=30,
    framework="torch",
    strict=("teacher-not-detached",),
    then="It agrees with 60-digit arithmetic, and the teacher learns nothing from it.",
    mistakes=(
        Mistake(
            "teacher-not-detached",
            wrong_pld(detach=False),
            hint="The loss is right; who else gets a gradient from it?",
        ),
        Mistake("weights-not-permuted", wrong_pld(permuted=False)),
        Mistake(
            "prefix-sums",
            wrong_pld(flipped=False),
            hint="logcumsumexp runs from the front; the tails run from the back.",
        ),
        Mistake("softmax-over-batch", wrong_pld(softmax_axis=0)),
        Mistake(
            "student-temperature + temperature-squared",
            wrong_pld(student_tau=True),
            hint="Both are KD's; PLD's temperature touches the weights only.",
        ),
        Mistake("eps-in-log", wrong_pld(eps=1e-8), hint="06.3 needs no eps."),
    ),
)

EXERCISES = (digits, gradcheck, cost, ties, masks, whole)
