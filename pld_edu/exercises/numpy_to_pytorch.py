"""Exercises for notebook 06: digits, ties, masks and autograd."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pld_edu import losses

from .calling import NotYet, call, short
from .kinds import Code, Values, wrong, wrong_options
from .pld_losses import passes_check_loss

INF = float("inf")

GRADCHECK = Values(
    heading="06.1 what gradcheck sees · warm-up · 6 minutes",
    right={"caught": frozenset("ceg")},
    options="abcdefg",
    hint="It compares the gradient with difference quotients of the same function, in float64.",
    praise="It knows your function only; whether that is the paper's, only a value can tell.",
    mistakes=wrong_options(
        a="A wrong ranking is differentiated as properly as the right one.",
        b="Only the student was handed in, so nobody looks at the teacher's gradient.",
        c="The difference quotient has one sign, the written backward the other.",
        d="In float64 these digits are not lost, and gradcheck asks for float64.",
        e="The value depends on the student along a path that the gradient leaves out.",
        f="Weights in the wrong order are constants all the same.",
        g="PyTorch multiplies the incoming gradient in and notices that yours does not.",
    ),
)


def value_and_gradient(f: Callable[..., Any], s: Tensor, *rest: Any) -> Any:
    """Value of a learner's ``f(s, *rest)`` and the gradient of its sum in s."""
    leaf = s.clone().requires_grad_()
    value = call(f, leaf, *rest, copy=False)
    if not isinstance(value, Tensor):
        raise NotYet(f"  The function should return a tensor, not {short(value)}.")
    if value.requires_grad:
        value.sum().backward()
    gradient = torch.zeros_like(s) if leaf.grad is None else leaf.grad
    return {"value": value.detach(), "gradient": gradient}


def _exp_log(s: Tensor, tail: Tensor) -> Tensor:
    return (1 + (tail - s).exp()).log()


def _where_after(s: Tensor, tail: Tensor) -> Tensor:
    return torch.where(tail - s > 40, tail - s, (tail - s).exp().log1p())


def _pairs(*pairs: tuple[float, float]) -> tuple[Tensor, ...]:
    return torch.tensor(pairs, dtype=torch.float64).unbind(-1)


COST = Code(
    heading="06.2 the cost of a choice · core · 10 minutes",
    right=lambda s, tail: torch.logaddexp(torch.zeros_like(s), tail - s),
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
            "R - s drowns a small cost in rounding.", "Subtract s before anything else."
        ),
        wrong("plain-exponential", _exp_log, lambda s, tail: (tail - s).exp().log1p())(
            "exp overflows for a hopeless choice.", "Is there a log(exp(a) + exp(b)) in torch?"
        ),
        wrong("where-after", _where_after)(
            "where() repairs the value, not the gradient.", "0 times an infinite gradient is nan."
        ),
        wrong("softplus-threshold", lambda s, tail: F.softplus(tail - s))(
            "softplus(x) is x itself above 20.", "Is there a function without a threshold?"
        ),
    ),
)


def ranking_and_input(f: Callable[..., Any], t: Tensor, y: Tensor) -> Any:
    """A learner's ranking, and whether the teacher's logits were left as they were."""
    given = t.clone()
    ranking = call(f, given, y, copy=False)
    return {"ranking": ranking, "teacher changed": not torch.equal(given, t)}


def _sorted(t: Tensor, y: Tensor, stable: bool = True) -> Tensor:
    key = t.scatter(-1, y[:, None], INF)
    return key.argsort(dim=-1, descending=True, stable=stable)


def _reversed_ties(t: Tensor, y: Tensor) -> Tensor:
    last = t.shape[-1] - 1
    return last - _sorted(t.flip(-1), last - y)


def _changes_teacher(t: Tensor, y: Tensor) -> Tensor:
    return _sorted(t.scatter_(-1, y[:, None], INF), y)


TIES = Code(
    heading="06.3 a ranking that survives ties · core · 12 minutes",
    right=losses.teacher_ranking,
    cases=(
        (torch.tensor([[0.5, 2.0, -1.0]]), torch.tensor([2])),
        (torch.tensor([[1.0, 1.0, 1.0, 0.0], [0.0, 3.0, 3.0, -2.0]]), torch.tensor([3, 2])),
        (torch.tensor([[0.1, 0.4, 0.2], [3.0, 1.0, 2.0]]), torch.tensor([0, 1])),
        (torch.tensor([[0.0, 1e-7, 0.0]]), torch.tensor([2])),
        (torch.tensor([[300.0, 298.0, 300.0, 1.0]]).bfloat16(), torch.tensor([2])),
        (torch.arange(40.0)[None] % 3, torch.tensor([7])),
    ),
    measure=ranking_and_input,
    praise="Label first, then by falling logit, then by class index; one sort does all of it.",
    mistakes=(
        wrong("other-ties", _reversed_ties, partial(_sorted, stable=False))(
            "Equal logits are not in the order of classes.", "argsort can be stable."
        ),
        wrong("label-not-first", lambda t, y: t.argsort(dim=-1, descending=True, stable=True))(
            "This is the teacher's own order.", "Which key would make the label win?"
        ),
        wrong("ranks-not-classes", lambda t, y: losses.teacher_ranking(t, y).argsort(dim=-1))(
            "These are ranks by class, not classes by rank.", "One argsort is too many."
        ),
        wrong("teacher-changed", _changes_teacher)(
            "The caller's teacher logits are changed.", "scatter_ writes into its tensor."
        ),
    ),
)


def _odds(s: Tensor, t: Tensor, y: Tensor, floor: float | None = None) -> Tensor:
    """Terms of the loss of notebook 06, case 2; a floor stands in for the student's -inf."""
    s = s if floor is None else torch.where(s.isneginf() & t.isneginf(), floor, s)
    s = s - s.max()
    ranking = losses.teacher_ranking(t, y)
    s, alpha = s[ranking], t.detach().softmax(-1)[ranking]
    against = s.flip(-1).logcumsumexp(-1).flip(-1)[1:] - s[:-1]
    return alpha[:-1] * torch.logaddexp(torch.zeros_like(against), against)


def _row(s: list[float], t: list[float], y: int) -> tuple[Tensor, Tensor, Tensor]:
    double = torch.float64
    return torch.tensor(s, dtype=double), torch.tensor(t, dtype=double), torch.tensor(y)


MASKS = Code(
    heading="06.4 masked classes · core · 15 minutes",
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
            "-inf minus -inf is nan.", "Which differences meet two masked classes?"
        ),
        wrong("where-after", lambda *row: _odds(*row).where(_odds(*row).isfinite(), 0).sum())(
            "where() repairs the value, not the gradient.", "Replace -inf in the inputs."
        ),
        wrong("floor-too-high", lambda s, t, y: _odds(s, t, y, floor=-1e4).sum())(
            "The floor for -inf lies above real logits.", "How low can a logit be? Go below."
        ),
    ),
)


def wrong_torch_pld(*faults: str) -> Callable[..., Tensor]:
    """A PLD for [N, C] with faults, of which each changes one line."""

    def pld(s: Tensor, t: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        t = t if "teacher not detached" in faults else t.detach()
        ranking = losses.teacher_ranking(t, y)
        q = (t / temperature).softmax(dim=-1)
        alpha = q if "not permuted" in faults else q.gather(-1, ranking)
        s = s / temperature if "student's temperature" in faults else s
        s = (s if "float32" in faults else s.double()).gather(-1, ranking)
        tails = (s if "prefixes" in faults else s.flip(-1)).logcumsumexp(-1)
        tails = tails if "prefixes" in faults else tails.flip(-1)
        tails = tails.detach() if "tails detached" in faults else tails
        rows = (alpha * (tails - s)).sum(dim=-1)
        return rows.mean() * (temperature**2 if "times tau squared" in faults else 1)

    return pld


AS_IN_KD = wrong_torch_pld("student's temperature", "times tau squared")


EXTREME = [[30.0, 0.0, -30.0], [1040.0, 1000.0, 960.0], [60.0, 0.0, -60.0]]


def passes_as_whole(loss: Any) -> str | None:
    """The checker's test, then students so sure that R - s, even in float64, loses the gradient."""
    passes_check_loss("torch", convert=torch.as_tensor, strict="teacher-not-detached")(loss)
    t, y = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])
    for row in EXTREME:
        batch = torch.tensor([row]), t, y
        got, right = (value_and_gradient(f, *batch)["gradient"] for f in (loss, losses.pld_loss))
        if not torch.allclose(got.double(), right.double(), rtol=1e-3, atol=0.0):
            return "lost-digits"
    return None


LOST_DIGITS = wrong("lost-digits", wrong_torch_pld(), wrong_torch_pld("float32"))(
    "Right on ordinary logits, but R - s drowns the small costs of a confident student, and their "
    "gradients, in rounding.",
    "Write a cost as log(1 + exp(R of the ranks behind - s)), as in 06.2.",
)
WHOLE = Code(
    heading="06.5 PLD in PyTorch · challenge · 30 minutes",
    test=passes_as_whole,
    praise="The checker finds no mistake, no digit is lost, and the teacher gets no gradient.",
    mistakes=(
        wrong("teacher-not-detached", wrong_torch_pld("teacher not detached"))(
            "", "The loss is right; who else gets a gradient from it?"
        ),
        wrong("weights-not-permuted", wrong_torch_pld("not permuted"))(),
        wrong("prefix-sums", wrong_torch_pld("prefixes"))(
            "", "logcumsumexp runs from the front; the tails run from the back."
        ),
        wrong("student-temperature + temperature-squared", AS_IN_KD)(
            "", "Both are KD's; PLD's temperature touches the weights only."
        ),
        LOST_DIGITS,
    ),
)

EXERCISES = (GRADCHECK, COST, TIES, MASKS, WHOLE)
