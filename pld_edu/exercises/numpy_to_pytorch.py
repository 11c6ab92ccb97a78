"""Exercises for notebook 06: digits, ties, masks and autograd."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pld_edu import losses

from .calling import call
from .kinds import Code, Values, wrong, wrong_options
from .pld_losses import passes_check_loss

INF = float("inf")
SINGLE, DOUBLE = 24 * np.log(2), 53 * np.log(2)

DIGITS = Values(
    heading="06.1 where one minus p ends · warm-up · 8 minutes",
    right={"gap_float32": SINGLE, "gap_float64": DOUBLE},
    hint="p = 1 / (1 + exp(-d)): from which exp(-d) on does 1 + exp(-d) round to 1?",
    praise="A gap of 17 is an ordinary day in training, and 1 - p says the gradient is 0 there.",
    mistakes=(
        wrong("no-rounding", {"gap_float32": 23 * np.log(2)}, {"gap_float64": 52 * np.log(2)})(
            "This is log(1 / eps), but a sum is rounded to the nearest number.",
            "1 + x becomes 1 for all x up to half the spacing above 1.",
        ),
        wrong("base-ten", {"gap_float32": 24 * np.log10(2)}, {"gap_float64": 53 * np.log10(2)})(
            "This counts decimal digits, but the exponential has base e.", "Solve exp(-d) = 2^-24."
        ),
    ),
)

SEEN = frozenset("ceg")

GRADCHECK = Values(
    heading="06.2 what gradcheck sees · warm-up · 6 minutes",
    right={"caught": SEEN},
    options="abcdefg",
    hint="It compares the gradient with difference quotients of the same function, in float64.",
    praise="It knows your function only; whether that is the paper's, only a value can tell.",
    mistakes=wrong_options(
        "caught",
        SEEN,
        a="A wrong ranking is differentiated as properly as the right one.",
        b="Only the student was handed in, so nobody looks at the teacher's gradient.",
        c="The difference quotient has one sign, the written backward the other.",
        d="In float64 these digits are not lost, and gradcheck asks for float64.",
        e="The value depends on the student along a path that the gradient leaves out.",
        f="Weights in the wrong order are constants all the same.",
        g="PyTorch multiplies the incoming gradient in and notices that yours does not.",
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
        gradient = torch.zeros_like(s) if leaf.grad is None else leaf.grad
        return {"value": value.detach(), "gradient": gradient}

    run.__name__ = getattr(f, "__name__", "your function")
    return call(run, s, *rest)


def choice_cost(s: Tensor, tail: Tensor) -> Tensor:
    """log(1 + exp(tail - s)) to all digits."""
    return torch.logaddexp(torch.zeros_like(s), tail - s)


def _pairs(*pairs: tuple[float, float]) -> tuple[Tensor, ...]:
    return torch.tensor(pairs, dtype=torch.float64).unbind(-1)


COST = Code(
    heading="06.3 the cost of a choice · core · 10 minutes",
    right=choice_cost,
    cases=(
        _pairs((1.0, 2.0)),
        _pairs((0.0, 0.0), (-3.0, 1.0), (2.0, -1.0)),
        _pairs((1000.0, 960.0), (30.0, -5.0)),
        _pairs((-10.0, 10.5)),
        _pairs((-360.0, 360.0), (0.0, 1e4)),
    ),
    measure=value_and_gradient,
    rtol=1e-10,
    atol=0.0,
    praise="Small where the choice is easy, straight where it is hopeless, no digit lost between.",
    mistakes=(
        wrong("difference-of-large-numbers", lambda s, tail: torch.logaddexp(s, tail) - s)(
            "R - s subtracts two large numbers, and a small cost drowns in their rounding.",
            "Subtract s first, while nothing is lost yet.",
        ),
        wrong(
            "plain-exponential",
            lambda s, tail: (1 + (tail - s).exp()).log(),
            lambda s, tail: (tail - s).exp().log1p(),
        )(
            "exp overflows for a hopeless choice, and 1 + exp forgets an easy one.",
            "Which function of PyTorch is log(exp(a) + exp(b))?",
        ),
        wrong("softplus-threshold", lambda s, tail: F.softplus(tail - s))(
            "softplus answers x itself above 20, and its gradient is 1 there.",
            "Its threshold costs 2e-9 just above 20; is there a function without one?",
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


def _key(t: Tensor, y: Tensor) -> Tensor:
    return t.scatter(-1, y[:, None], INF)


def _reversed_ties(t: Tensor, y: Tensor) -> Tensor:
    return _key(t, y).argsort(dim=-1, stable=True).flip(-1)


HALF = torch.tensor([[300.0, 298.0, 300.0, 1.0], [0.5, 0.5, 0.25, 0.5]], dtype=torch.bfloat16)

TIES = Code(
    heading="06.4 a ranking that survives ties · core · 12 minutes",
    right=losses.teacher_ranking,
    cases=(
        (torch.tensor([[0.5, 2.0, -1.0]]), torch.tensor([2])),
        (torch.tensor([[1.0, 1.0, 1.0, 0.0], [0.0, 3.0, 3.0, -2.0]]), torch.tensor([3, 2])),
        (torch.tensor([[0.1, 0.4, 0.2], [3.0, 1.0, 2.0]]), torch.tensor([0, 1])),
        (torch.tensor([[0.0, 1e-7, 0.0]]), torch.tensor([2])),
        (HALF, torch.tensor([2, 0])),
        (torch.arange(40.0)[None] % 3, torch.tensor([7])),
    ),
    measure=ranking_and_input,
    praise="Label first, then by falling logit, then by class index; one sort does all of it.",
    mistakes=(
        wrong(
            "other-ties", _reversed_ties, lambda t, y: _key(t, y).argsort(dim=-1, descending=True)
        )(
            "Equal logits do not come by class index.",
            "argsort can be stable; a stable sort upwards, read backwards, turns the ties round.",
        ),
        wrong("label-not-first", lambda t, y: t.argsort(dim=-1, descending=True, stable=True))(
            "This is the teacher's own order; the label stays where the teacher has it.",
            "Which key would make the label win every comparison?",
        ),
        wrong("ranks-not-classes", lambda t, y: losses.teacher_ranking(t, y).argsort(dim=-1))(
            "These are the ranks of the classes; wanted are the classes by rank.",
            "One argsort too many.",
        ),
        wrong(
            "teacher-changed",
            lambda t, y: t.scatter_(-1, y[:, None], INF).argsort(
                dim=-1, descending=True, stable=True
            ),
        )(
            "The ranking is right, but the caller's teacher logits have an infinity in them now.",
            "PyTorch methods with a trailing underscore write into their tensor.",
        ),
    ),
)


def _odds(s: Tensor, t: Tensor, y: Tensor, floor: float = -INF) -> Tensor:
    """Terms of the loss of notebook 06, case 2; a floor stands in for the student's -inf."""
    s = torch.where(s.isneginf() & t.isneginf(), floor, s)
    s = s - s.max()
    ranking = losses.teacher_ranking(t, y)
    s, alpha = s[ranking], t.detach().softmax(-1)[ranking]
    against = s.flip(-1).logcumsumexp(-1).flip(-1)[1:] - s[:-1]
    return alpha[:-1] * torch.logaddexp(torch.zeros_like(against), against)


def _row(s: list[float], t: list[float], y: int) -> tuple[Tensor, Tensor, Tensor]:
    double = torch.float64
    return torch.tensor(s, dtype=double), torch.tensor(t, dtype=double), torch.tensor(y)


MASKS = Code(
    heading="06.5 masked classes · core · 15 minutes",
    right=losses.pld_loss,
    cases=(
        _row([1.0, -INF, 3.0], [0.5, -INF, -1.0], 2),
        _row([1.0, -INF, 3.0, -INF, 0.0], [0.5, -INF, -1.0, -INF, 2.0], 0),
        _row([-INF, -2e4, 0.0, -2e4 - 2], [-INF, 3.0, 1.0, 2.0], 2),
        _row([1.0, 2.0, 3.0], [0.5, 2.0, -1.0], 2),
    ),
    measure=value_and_gradient,
    rtol=1e-7,
    praise="The mask was applied before any arithmetic, so autograd never meets an infinity.",
    mistakes=(
        wrong("no-mask", lambda s, t, y: _odds(s, t, y).sum())(
            "Nothing is done about -inf, and -inf minus -inf is nan.",
            "Which differences meet two masked classes?",
        ),
        wrong(
            "where-after",
            lambda s, t, y: torch.where((a := _odds(s, t, y)).isfinite(), a, 0.0).sum(),
        )(
            "The value is right and the gradient nan: where() came after the arithmetic.",
            "Replace -inf in the inputs, before the first subtraction.",
        ),
        wrong("floor-too-high", lambda s, t, y: _odds(s, t, y, floor=-1e4).sum())(
            "The number that stands in for -inf lies above real logits, and the class competes.",
            "How low can a student's logit be? Go far below.",
        ),
    ),
)


def wrong_torch_pld(
    *,
    detached: bool = True,
    permuted: bool = True,
    prefixes: bool = False,
    frozen_tails: bool = False,
    student_tau: bool = False,
    squared: bool = False,
    double: bool = True,
) -> Callable[..., Tensor]:
    """A PLD for [N, C] with some of its lines changed."""

    def pld(s: Tensor, t: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        t = t.detach() if detached else t
        ranking = losses.teacher_ranking(t, y)
        q = (t / temperature).softmax(dim=-1)
        alpha = q.gather(-1, ranking) if permuted else q
        s = s / temperature if student_tau else s
        s = (s.double() if double else s).gather(-1, ranking)
        tails = s.logcumsumexp(-1) if prefixes else s.flip(-1).logcumsumexp(-1).flip(-1)
        tails = tails.detach() if frozen_tails else tails
        return (alpha * (tails - s)).sum(dim=-1).mean() * (temperature**2 if squared else 1)

    return pld


WHOLE = Code(
    heading="06.6 PLD in PyTorch · challenge · 30 minutes",
    test=passes_check_loss("torch", convert=torch.as_tensor, strict="teacher-not-detached"),
    praise="The checker finds no mistake: values as in 60-digit arithmetic, none for the teacher.",
    mistakes=(
        wrong("teacher-not-detached", wrong_torch_pld(detached=False))(
            "", "The loss is right; who else gets a gradient from it?"
        ),
        wrong("weights-not-permuted", wrong_torch_pld(permuted=False))(),
        wrong("prefix-sums", wrong_torch_pld(prefixes=True))(
            "", "logcumsumexp runs from the front; the tails run from the back."
        ),
        wrong(
            "student-temperature + temperature-squared",
            wrong_torch_pld(student_tau=True, squared=True),
        )("", "Both are KD's; PLD's temperature touches the weights only."),
    ),
)

EXERCISES = (DIGITS, GRADCHECK, COST, TIES, MASKS, WHOLE)
