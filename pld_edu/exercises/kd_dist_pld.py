"""Exercises for notebook 07: KD by hand, at rest, DIST's rows, temperature, and DKD's two parts."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pld_edu import losses
from pld_edu.check.engine import as_array

from .kinds import Code, Values, wrong
from .numpy_to_pytorch import value_and_gradient

Q = np.array([0.75, 0.25])  # the teacher's softmax; the student's is (1/2, 1/2), and tau^2 is 4
KD_BY_HAND = 4 * (Q * np.log(Q / 0.5)).sum()

BY_HAND = Values(
    heading="07.1 KD with a pencil · warm-up · 10 minutes",
    right={"kd": KD_BY_HAND, "factor": 1600.0},
    hint="Probabilities first, then the sum of q log(q / p), then tau^2.",
    praise="Three conventions, and a factor of 1600 between them: say which KD you mean.",
    mistakes=(
        wrong("tau-squared-forgotten", kd=KD_BY_HAND / 4)(
            "This is the divergence alone.", "KD is multiplied by tau^2; here tau is 2."
        ),
        wrong("divergence-reversed", kd=4 * (0.5 * np.log(0.5 / Q)).sum())(
            "This is KL from student to teacher.", "The teacher's q stands before the log."
        ),
        wrong("cross-entropy-for-divergence", kd=-4 * (Q * np.log(0.5)).sum())(
            "The teacher's entropy is missing.", "KD of a perfect student is 0."
        ),
        wrong("half-the-factor", {"factor": 100.0}, {"factor": 16.0})(
            'Two things are missing: tau^2, and "mean" also divides by the number of classes.',
            'reduction="mean" divides by all elements, N times C; "batchmean" by N.',
        ),
    ),
)


def _kl(
    s: Tensor, t: Tensor, tau: float, power: int = 2, reduction: str = "batchmean", log: bool = True
) -> Tensor:
    p, q = ((s / tau).log_softmax(-1) if log else (s / tau).softmax(-1)), (t / tau).softmax(-1)
    return tau**power * F.kl_div(p, q, reduction=reduction)


def _entropy(t: Tensor, tau: float) -> Tensor:
    return tau**2 * torch.special.entr((t / tau).softmax(-1)).sum(-1).mean()


def _log_of_zero(s: Tensor, t: Tensor, tau: float, of_teacher: bool = False) -> Tensor:
    p, q = (s / tau).softmax(-1), (t / tau).softmax(-1)
    log_p = (s / tau).log_softmax(-1) if of_teacher else p.log()
    return tau**2 * (q * (q.log() - log_p)).sum(-1).mean()


def _batch(s: list[list[float]], t: list[list[float]], tau: float) -> tuple[Tensor, Tensor, float]:
    return torch.tensor(s, dtype=torch.float64), torch.tensor(t, dtype=torch.float64), tau


BATCHES = (
    _batch([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]], [[2.0, 0.0, 1.0], [3.0, 0.0, 0.0]], 4.0),
    _batch([[0.3, -1.2, 2.0, 0.7]], [[0.5, 2.0, -1.0, 1.0]], 2.0),
    _batch([[1.0, 0.0, 0.5], [0.0, 0.2, -0.4]], [[0.5, 2.0, -1.0], [4.0, -2.0, 0.0]], 1.0),
)

WRITE_KD = Code(
    heading="07.2 write KD · core · 12 minutes",
    right=lambda s, t, tau: losses.kd_loss(s, t, temperature=tau),
    cases=(*BATCHES, _batch([[0.0, 1.0], [0.0, -800.0]], [[0.0, -800.0], [0.0, 1.0]], 1.0)),
    measure=value_and_gradient,
    rtol=1e-9,
    atol=1e-12,
    praise="kl_div wants the student's logarithms first, and its default reduction is not KD's.",
    mistakes=(
        wrong("wrong-reduction", *(partial(_kl, reduction=how) for how in ("mean", "sum")))(
            'reduction="mean" also divides by the classes; "sum" divides by nothing.',
            "KD is a mean over rows; kl_div has a name for that.",
        ),
        wrong("tau-squared-forgotten", *(partial(_kl, power=k) for k in (0, 1)))(
            "The factor tau^2 is missing, or is only tau.", "The gradient shrinks twice; see 07.4."
        ),
        wrong("divergence-reversed", lambda s, t, tau: _kl(t, s, tau))(
            "This is KL from student to teacher.", "kl_div takes the student first."
        ),
        wrong("student-without-logarithm", partial(_kl, log=False))(
            "kl_div wants the logarithms of p.", "A divergence is never negative. Is yours?"
        ),
        wrong("entropy-forgotten", lambda s, t, tau: _kl(s, t, tau) + _entropy(t, tau))(
            "This is the soft cross-entropy: same gradient, but not 0 for a perfect copy.",
            "A divergence also subtracts the teacher's own entropy.",
        ),
        wrong("log-of-zero", _log_of_zero, partial(_log_of_zero, of_teacher=True))(
            "The logarithm of a probability of 0 is infinite.", "log_softmax avoids it."
        ),
    ),
)


def dist_rows(s: Tensor, t: Tensor, tau: float) -> Tensor:
    """DIST's row term."""
    return losses.dist_loss(s, t, temperature=tau, gamma=0.0)


def _distance(s: Tensor, t: Tensor, tau: float, dim: int = -1, centred: bool = True) -> Tensor:
    p, q = (s / tau).softmax(-1), (t / tau).softmax(-1)
    if centred:
        p, q = p - p.mean(dim, keepdim=True), q - q.mean(dim, keepdim=True)
    return tau**2 * (1 - F.cosine_similarity(p, q, dim=dim).mean())


WRITE_DIST = Code(
    heading="07.3 the rows of DIST · core · 12 minutes",
    right=dist_rows,
    cases=BATCHES,
    measure=value_and_gradient,
    rtol=1e-5,
    atol=1e-6,
    praise="The columns are the same function of the transposed matrices.",
    mistakes=(
        wrong("cosine", lambda s, t, tau: _distance(s, t, tau, centred=False))(
            "The mean over the classes was not subtracted.", "A constant in p must not matter."
        ),
        wrong("columns", lambda s, t, tau: _distance(s, t, tau, dim=0))(
            "Each class is correlated over the batch.", "One correlation per row, over its classes."
        ),
        wrong("tau-squared-forgotten", lambda s, t, tau: _distance(s, t, tau) / tau**2)(
            "The factor tau^2 is missing.", "DIST's authors multiply by it as KD does."
        ),
        wrong("one-minus-forgotten", lambda s, t, tau: tau**2 - dist_rows(s, t, tau))(
            "This is the correlation itself, times tau^2.", "A perfect copy must cost nothing."
        ),
    ),
)

POWERS = Values(
    heading="07.4 what temperature does to the gradient · core · 12 minutes",
    right={"kd_power": 0.0, "without_power": -2.0, "pld_power": 0.0, "ce_factor": 0.25},
    rtol=0.02,
    atol=0.05,
    hint="For large tau, softmax(z / tau) is 1 / C + (z - mean) / (C tau), nearly.",
    praise="PLD's temperature moves weight between choices; it is no volume knob.",
    mistakes=(
        wrong("tau-squared-grows", kd_power=2.0)(
            "tau^2 makes up for a loss of 1 / tau^2.", "KD's gradient is tau (p - q)."
        ),
        wrong("chain-rule-only", without_power=-1.0)(
            "The chain rule gives 1 / tau, but p - q shrinks too.", "Both softmaxes become uniform."
        ),
        wrong("pld-fades", pld_power=-1.0)(
            "Only the weights change, and they sum to 1.", "What is PLD with weights 1 / C called?"
        ),
        wrong("factor-of-two", {"ce_factor": 0.5}, {"ce_factor": 4.0})(
            "KD loses strength with tau squared.", "What is left of it at twice the tau?"
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


def _with_weight(s: Tensor, t: Tensor, y: Tensor, tau: float, w: Tensor) -> tuple[Tensor, ...]:
    target, _, rest = split_kd(s, t, y, tau)
    return target, w, rest


def _not_renormalised(s: Tensor, t: Tensor, y: Tensor, tau: float) -> tuple[Tensor, ...]:
    p, q = (s / tau).softmax(-1), (t / tau).softmax(-1)
    terms = (q * (q / p).log()).scatter(-1, y[:, None], 0.0)
    return (*split_kd(s, t, y, tau)[:2], terms.sum(-1))


SPLIT = Code(
    heading="07.5 DKD takes KD apart · challenge · 25 minutes",
    right=split_kd,
    cases=(
        (*BATCHES[1][:2], torch.tensor([3]), 2.0),
        (*BATCHES[0][:2], torch.tensor([2, 0]), 4.0),
        (*BATCHES[2][:2], torch.tensor([1, 0]), 1.0),
    ),
    rtol=1e-6,
    praise="A sure teacher turns its own dark knowledge down; DKD gives it a fixed weight instead.",
    mistakes=(
        wrong("label-weight", lambda s, t, y, tau: _with_weight(s, t, y, tau, _at(t / tau, y)))(
            "The weight is q_y, the label's.", "A sure teacher says little about the rest."
        ),
        wrong("not-softened", lambda s, t, y, tau: _with_weight(s, t, y, tau, 1 - _at(t, y)))(
            "The weight is that of temperature 1.", "All three parts are made of softmax(z / tau)."
        ),
        wrong("rest-not-renormalised", _not_renormalised)(
            "The other classes do not sum to 1 here.", "Take a softmax over them alone."
        ),
    ),
)

EXERCISES = (BY_HAND, WRITE_KD, WRITE_DIST, POWERS, SPLIT)

LABEL_RISES = Values(
    heading="07.a when the label rises",
    right={"weight": 2 / 7},  # 0.5 lambda = 0.2 (1 - lambda)
    hint="Cross-entropy pushes dog by +0.5, KD by -0.2. With which shares is their sum 0?",
    praise="The usual 0.1 is below it: KD's student is still told to be less sure of dog.",
    mistakes=(
        wrong("kd-not-turned-down", 0.4)(
            "Here KD keeps its full strength.", "Its share is 1 minus that of cross-entropy."
        ),
        wrong("shares-exchanged", 5 / 7)("This is KD's share.", "Asked is cross-entropy's."),
    ),
)


def _test_on_the_ray(answer: Any) -> str | None:
    """Whether four probabilities are on the ray of q = (0.1, 0.2, 0.3, 0.4), and none is q's."""
    p, q = as_array(answer), np.array([0.1, 0.2, 0.3, 0.4])
    if p is None or p.shape != (4,) or not (p >= 0).all() or not np.isclose(p.sum(), 1, atol=1e-6):
        return "p is four probabilities, for car, cat, dog and fox, with the sum 1."
    if np.ptp(p) < 1e-6:
        return "no-direction"
    if np.abs(p - q).min() < 1e-3:
        return "Some probability is still the teacher's: change all four."
    steps = np.diff(p)
    return None if steps[0] > 0 and np.ptp(steps) < 1e-6 else "not-a-line"


ON_THE_RAY = Code(
    heading="07.b nothing right, and no loss",
    test=_test_on_the_ray,
    praise="Not one of the four is right, and DIST is 0.",
    mistakes=(
        wrong("no-direction", [0.25, 0.25, 0.25, 0.25])(
            "The middle has no direction: its correlation counts as 0.", "Step off it, a little."
        ),
        wrong("not-a-line", [0.4, 0.3, 0.2, 0.1], [0.01, 0.09, 0.27, 0.63])(
            "Against the teacher's, these lie on no rising line.", "Equal steps up from car to fox."
        ),
    ),
)

FILL_INS = (LABEL_RISES, ON_THE_RAY)
