"""Exercises for notebook 07: KD by hand, at rest, DIST's rows, temperature, and DKD's two parts."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pld_edu import losses, reference

from .kinds import FunctionExercise, Mistake
from .numpy_to_pytorch import value_and_gradient
from .parts import PartsExercise

HAND_S, HAND_T, HAND_TAU = np.zeros(2), np.array([2 * np.log(3), 0.0]), 2.0
BY_HAND = float(reference.kd_loss(HAND_S, HAND_T, temperature=HAND_TAU))
Q_HAND = np.array([0.75, 0.25])
REVERSED = 4 * float((0.5 * np.log(0.5 / Q_HAND)).sum())
CROSS = -4 * float((Q_HAND * np.log(0.5)).sum())

by_hand = PartsExercise(
    title="07.1 KD with a pencil",
    level="warm-up",
    minutes=10,
    parts=("kd", "factor"),
    right=(BY_HAND, 1600.0),
    rtol=2e-3,
    hint="Probabilities first, then the sum of q log(q / p), then tau^2.",
    then="Three conventions, 1600 between them: say which KD you mean.",
    mistakes=(
        Mistake(
            "tau-squared-forgotten",
            (BY_HAND / 4, 1600.0),
            "this is the divergence alone.",
            "KD is multiplied by tau^2; here tau is 2.",
        ),
        Mistake(
            "divergence-reversed",
            (REVERSED, 1600.0),
            "the divergence is taken the other way round, from the student to the teacher.",
            "The teacher's probabilities stand in front of the logarithm.",
        ),
        Mistake(
            "temperature-forgotten",
            (4 * float(reference.kd_loss(HAND_S, HAND_T, temperature=1.0)), 1600.0),
            "the logits were not divided by the temperature.",
            "t / tau = (log 3, 0): which probabilities are these?",
        ),
        Mistake(
            "cross-entropy-for-divergence",
            (CROSS, 1600.0),
            "this is tau^2 times the cross-entropy of q and p; the teacher's entropy is missing.",
            "KD of a perfect student is 0. Is yours?",
        ),
        Mistake(
            "classes-only",
            (BY_HAND, 100.0),
            "the mean over classes costs a factor of 100, but tau^2 is missing as well.",
            "tau is 4.",
        ),
        Mistake(
            "temperature-only",
            (BY_HAND, 16.0),
            "tau^2 is 16, but 'mean' also divides by the number of classes.",
            'reduction="mean" divides by all elements, N times C; "batchmean" by N.',
        ),
    ),
)

NOBODY: frozenset[str] = frozenset()
PAIR = frozenset({"KD", "DIST"})
ALONE = frozenset({"DIST"})

at_rest = PartsExercise(
    title="07.2 who is at rest",
    level="warm-up",
    minutes=8,
    parts=("shifted", "bold", "timid"),
    right=(PAIR, NOBODY, ALONE),
    hint="KD asks for p = q, DIST for p = a + b q, PLD for the order and wider gaps.",
    then="KD has a point, DIST a ray, and PLD no place at all to rest.",
    mistakes=(
        Mistake(
            "pld-rests-at-the-teacher",
            (PAIR | {"PLD"}, NOBODY, ALONE),
            "PLD still pushes there: every choice but the last has a cost left to lower.",
            "When is log(1 + exp(...)) zero?",
        ),
        Mistake(
            "a-constant-is-seen",
            (NOBODY, NOBODY, ALONE),
            "no softmax sees a constant added to all logits.",
            "Which probabilities belong to t + 7?",
        ),
        Mistake(
            "order-suffices",
            (PAIR, frozenset({"PLD"}), ALONE),
            "the order is right, but PLD wants wider gaps still.",
            "Is PLD's gradient ever exactly 0?",
        ),
        Mistake(
            "logits-for-probabilities",
            (PAIR, ALONE, ALONE),
            "3 t is a straight line through the logits; DIST correlates probabilities.",
            "softmax(3 t) is q cubed, up to a constant. Is that a + b q?",
        ),
        Mistake(
            "dist-wants-the-values",
            (PAIR, NOBODY, NOBODY),
            "DIST's loss is 0 there: the student's probabilities are a + b q.",
            "Correlation forgives a shift and a positive factor.",
        ),
    ),
)


def kd(s: Tensor, t: Tensor, tau: float) -> Tensor:
    """The library's KD with its temperature by position."""
    return losses.kd_loss(s, t, temperature=tau)


def _kl(s: Tensor, t: Tensor, tau: float, power: int = 2, reduction: str = "batchmean") -> Tensor:
    log_p, q = (s / tau).log_softmax(-1), (t / tau).softmax(-1)
    return tau**power * F.kl_div(log_p, q, reduction=reduction)


def _log_of_zero(s: Tensor, t: Tensor, tau: float) -> Tensor:
    q = (t / tau).softmax(-1)
    return tau**2 * (q * (q.log() - (s / tau).log_softmax(-1))).sum(-1).mean()


def _torch(s: list[list[float]], t: list[list[float]], tau: float) -> tuple[Tensor, Tensor, float]:
    return torch.tensor(s, dtype=torch.float64), torch.tensor(t, dtype=torch.float64), tau


BATCHES = (
    _torch([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]], [[2.0, 0.0, 1.0], [3.0, 0.0, 0.0]], 4.0),
    _torch([[0.3, -1.2, 2.0, 0.7]], [[0.5, 2.0, -1.0, 1.0]], 2.0),
    _torch(
        [[1.0, 0.0, 0.5], [2.0, 1.0, -1.0], [0.0, 0.2, -0.4]],
        [[0.5, 2.0, -1.0], [4.0, -2.0, 0.0], [1.0, 1.5, 0.0]],
        1.0,
    ),
)

write_kd = FunctionExercise(
    title="07.3 write KD",
    level="core",
    minutes=12,
    right=kd,
    cases=(*BATCHES, _torch([[0.0, 1.0]], [[0.0, -800.0]], 1.0)),
    agrees_with="losses.kd_loss, in value and gradient,",
    measure=value_and_gradient,
    rtol=1e-6,
    atol=1e-9,
    then="kl_div wants the student's logarithms first, and its default reduction is not KD's.",
    mistakes=(
        Mistake(
            "mean-over-elements",
            lambda s, t, tau: _kl(s, t, tau, reduction="mean"),
            'reduction="mean" divides by the number of classes as well as by that of rows.',
            "KD is a mean over rows; kl_div has a name for that.",
        ),
        Mistake(
            "tau-squared-forgotten",
            lambda s, t, tau: _kl(s, t, tau, power=0),
            "the factor tau^2 is missing.",
            "At temperature 1 nobody notices; look at 07.5.",
        ),
        Mistake(
            "tau-once",
            lambda s, t, tau: _kl(s, t, tau, power=1),
            "the factor is tau, where tau^2 is wanted.",
            "Two things shrink the gradient: the chain rule, and p - q itself.",
        ),
        Mistake(
            "divergence-reversed",
            lambda s, t, tau: _kl(t, s, tau),
            "this is KL from the student to the teacher.",
            "kl_div(input, target): the input is the student's log-probabilities.",
        ),
        Mistake(
            "student-without-logarithm",
            lambda s, t, tau: (
                tau**2
                * F.kl_div((s / tau).softmax(-1), (t / tau).softmax(-1), reduction="batchmean")
            ),
            "kl_div got the student's probabilities; it wants their logarithms.",
            "A divergence is never negative. Is yours?",
        ),
        Mistake(
            "student-not-softened",
            lambda s, t, tau: _kl(s * tau, t, tau),
            "only the teacher's logits are divided by the temperature.",
            "For a perfect copy the loss must be 0 at every temperature.",
        ),
        Mistake(
            "log-of-zero",
            _log_of_zero,
            "where the teacher's probability underflows to 0, 0 times log 0 is nan.",
            "log_softmax never takes the logarithm of 0.",
        ),
    ),
)


def dist_rows(s: Tensor, t: Tensor, tau: float) -> Tensor:
    """DIST's row term."""
    return losses.dist_loss(s, t, temperature=tau, gamma=0.0)


def _correlation(a: Tensor, b: Tensor, dim: int = -1, centred: bool = True) -> Tensor:
    if centred:
        a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    return (a * b).sum(dim) / (a.norm(dim=dim) * b.norm(dim=dim) + 1e-8)


def _distance(s: Tensor, t: Tensor, tau: float, dim: int = -1, centred: bool = True) -> Tensor:
    p, q = (s / tau).softmax(-1), (t / tau).softmax(-1)
    return tau**2 * (1 - _correlation(p, q, dim, centred).mean())


write_dist = FunctionExercise(
    title="07.4 the rows of DIST",
    level="core",
    minutes=12,
    right=dist_rows,
    cases=BATCHES,
    agrees_with="losses.dist_loss with gamma = 0, in value and gradient,",
    measure=value_and_gradient,
    rtol=1e-5,
    atol=1e-6,
    then="The columns are the same function of the transposed matrices.",
    mistakes=(
        Mistake(
            "cosine",
            lambda s, t, tau: _distance(s, t, tau, centred=False),
            "this is the cosine: the mean over the classes was not subtracted.",
            "What is the correlation of two vectors before and after adding a constant to one?",
        ),
        Mistake(
            "logits-correlated",
            lambda s, t, tau: tau**2 * (1 - _correlation(s, t).mean()),
            "the logits are correlated; DIST takes probabilities.",
            "There is a softmax in front of the correlation.",
        ),
        Mistake(
            "columns",
            lambda s, t, tau: _distance(s, t, tau, dim=0),
            "these are the columns: each class over the batch.",
            "One correlation a row, over its classes.",
        ),
        Mistake(
            "tau-squared-forgotten",
            lambda s, t, tau: _distance(s, t, tau) / tau**2,
            "the factor tau^2 is missing.",
            "DIST's authors multiply by it as KD does.",
        ),
        Mistake(
            "one-correlation-for-all",
            lambda s, t, tau: (
                tau**2
                * (
                    1
                    - _correlation((s / tau).softmax(-1).flatten(), (t / tau).softmax(-1).flatten())
                )
            ),
            "the whole batch was correlated at once.",
            "A correlation for each row, then their mean.",
        ),
    ),
)

powers = PartsExercise(
    title="07.5 what temperature does to the gradient",
    level="core",
    minutes=12,
    parts=("kd_power", "without_power", "pld_power", "ce_factor"),
    right=(0.0, -2.0, 0.0, 0.25),
    rtol=0.02,
    atol=0.05,
    hint="For large tau, softmax(z / tau) is 1 / C + (z - mean) / (C tau), nearly.",
    then="PLD's temperature moves weight between choices; it is no volume knob.",
    mistakes=(
        Mistake(
            "tau-squared-grows",
            (2.0, -2.0, 0.0, 0.25),
            "tau^2 only makes up for what the softmaxes take away.",
            "KD's gradient is tau (p - q); what does p - q do?",
        ),
        Mistake(
            "chain-rule-only",
            (0.0, -1.0, 0.0, 0.25),
            "1 / tau comes from the chain rule, but p - q shrinks as well.",
            "Both softmaxes become uniform.",
        ),
        Mistake(
            "pld-fades",
            (0.0, -2.0, -1.0, 0.25),
            "only the weights see the temperature, and they always sum to 1.",
            "What is PLD with weights 1 / C called?",
        ),
        Mistake(
            "halved",
            (0.0, -2.0, 0.0, 0.5),
            "KD's gradient falls with the square of tau.",
            "Twice the tau: what is left of the gradient?",
        ),
        Mistake(
            "raised",
            (0.0, -2.0, 0.0, 4.0),
            "KD got weaker; to keep the balance cross-entropy must get weaker too.",
            "Both terms should shrink alike.",
        ),
    ),
)


def split_kd(s: Tensor, t: Tensor, y: Tensor, tau: float) -> tuple[Tensor, Tensor, Tensor]:
    """DKD's two divergences [N] and the weight [N] of the second, by the library's DKD."""

    def part(alpha: float, beta: float) -> Tensor:
        loss = losses.dkd_loss(s, t, y, temperature=tau, alpha=alpha, beta=beta, reduction="none")
        return loss / tau**2

    return part(1.0, 0.0), 1 - _at(t / tau, y), part(0.0, 1.0)


def _at(z: Tensor, y: Tensor) -> Tensor:
    return z.softmax(-1).gather(-1, y[:, None])[:, 0]


def _reweighted(
    s: Tensor, t: Tensor, y: Tensor, tau: float, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    target, _, rest = split_kd(s, t, y, tau)
    return target, weight, rest


def _rest_not_renormalised(s: Tensor, t: Tensor, y: Tensor, tau: float) -> Tensor:
    p, q = (s / tau).softmax(-1), (t / tau).softmax(-1)
    others = torch.ones_like(q).scatter(-1, y[:, None], 0.0)
    return (others * q * (q / p).log()).sum(-1)


split = FunctionExercise(
    title="07.6 DKD takes KD apart",
    level="challenge",
    minutes=25,
    right=split_kd,
    cases=(
        (*BATCHES[1][:2], torch.tensor([3]), 2.0),
        (*BATCHES[0][:2], torch.tensor([2, 0]), 4.0),
        (*BATCHES[2][:2], torch.tensor([1, 0, 2]), 1.0),
    ),
    agrees_with="losses.dkd_loss and the teacher's doubt",
    rtol=1e-6,
    then="A sure teacher turns its own dark knowledge down; DKD gives it a fixed weight instead.",
    mistakes=(
        Mistake(
            "weight-of-the-label",
            lambda s, t, y, tau: _reweighted(s, t, y, tau, _at(t / tau, y)),
            "the weight is the teacher's probability of the label, and should be that of the rest.",
            "A teacher that gives the label everything has nothing to say about the others.",
        ),
        Mistake(
            "weight-not-softened",
            lambda s, t, y, tau: _reweighted(s, t, y, tau, 1 - _at(t, y)),
            "the weight is that of temperature 1.",
            "All three parts are made of softmax(z / tau).",
        ),
        Mistake(
            "rest-not-renormalised",
            lambda s, t, y, tau: (
                *split_kd(s, t, y, tau)[:2],
                _rest_not_renormalised(s, t, y, tau),
            ),
            "the probabilities of the other classes do not sum to 1 here.",
            "Take a softmax over the other classes alone.",
        ),
        Mistake(
            "tau-squared-inside",
            lambda s, t, y, tau: tuple(
                part * scale
                for part, scale in zip(split_kd(s, t, y, tau), (tau**2, 1, tau**2), strict=True)
            ),
            "the two divergences were multiplied by tau^2.",
            "Asked for is the KL itself, as the sum in the text says.",
        ),
        Mistake(
            "parts-exchanged",
            lambda s, t, y, tau: split_kd(s, t, y, tau)[::-1],
            "the two divergences are in each other's place.",
            "Label against rest first, then the weight, then among the rest.",
        ),
    ),
)

EXERCISES = (by_hand, at_rest, write_kd, write_dist, powers, split)
