"""What PLD is compared with, in PyTorch: cross-entropy, ListMLE, P-ListMLE, KD, DIST, DKD.

The functions return their own term alone; the modules add cross-entropy by named weights.
"""

import torch
from torch import Tensor, nn

from .plackett_luce import choice_losses, softplus
from .pld import teacher_ranking
from .validation import (
    as_labels,
    as_logits,
    as_logits_pair,
    check_finite,
    check_label_unmasked,
    check_masked_classes,
    check_no_nan_or_posinf,
    check_reduction,
    check_temperature,
    fill_masked,
    reduce_rows,
)


def cross_entropy(
    student_logits: Tensor, labels: Tensor, *, reduction: str = "mean", ignore_index: int = -100
) -> Tensor:
    """Negative log-probability of the label: PLD with weights (1, 0, ..., 0).

    What `torch.nn.functional.cross_entropy` computes, with the class axis last, the checks of this
    package, and all digits where the label is near certain.

    Parameters
    ----------
    student_logits : Tensor [..., C]
        -inf masks a class.
    labels : integer Tensor [...]
    reduction : {"mean", "sum", "none"}
    ignore_index : int

    Returns
    -------
    Tensor
        Scalar, or [...] for reduction "none"; the student's dtype, but at least float32.

    Raises
    ------
    ValueError
        Wrong types or shapes, a bad reduction, the mean of 0 rows. Where values can be read (see
        `pld_edu.losses`): NaN or +inf, a masked or impossible label.
    """
    check_reduction(reduction)
    s = as_logits("student_logits", student_logits)
    y, keep = as_labels(labels, s, ignore_index)
    s = torch.where(keep.unsqueeze(-1), s, 0.0)
    check_no_nan_or_posinf("student_logits", s)
    check_label_unmasked(s, y)
    others = _others(fill_masked(s, s.isneginf()), y)
    log_odds = (others - s.gather(-1, y.unsqueeze(-1))).logsumexp(dim=-1)
    return reduce_rows(softplus(log_odds), keep, reduction, student_logits)


def list_mle(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, reduction: str = "mean"
) -> Tensor:
    """ListMLE (Xia et al. 2008): minus the log-likelihood of the teacher's ranking, label first.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor [..., C]
        Finite.
    labels : integer Tensor [...]
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Scalar, or [...] for reduction "none"; the student's dtype, but at least float32.

    Raises
    ------
    ValueError
        Wrong types or shapes, a bad reduction, the mean of 0 rows. Where values can be read (see
        `pld_edu.losses`): values that are not finite, impossible labels.
    """
    losses = _choice_losses(student_logits, teacher_logits, labels)
    return _reduce(losses.sum(dim=-1), reduction, student_logits)


def position_list_mle(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, reduction: str = "mean"
) -> Tensor:
    """P-ListMLE (Lan et al. 2014): choice k weighs 2^{C-k} - 1, here scaled to sum to 1.

    The weights are those of the paper's Sec. 4.2. Parameters and errors as in `list_mle`.
    """
    losses = _choice_losses(student_logits, teacher_logits, labels)
    classes = student_logits.shape[-1]
    k = torch.arange(1, classes, device=losses.device, dtype=losses.dtype)
    # Divided by 2^C, so that it stays finite for any C.
    alpha = torch.exp2(-k) - 2.0**-classes
    rows = (losses * alpha).sum(dim=-1) / (alpha.sum() if classes > 1 else 1.0)
    return _reduce(rows, reduction, student_logits)


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    reduction: str = "mean",
) -> Tensor:
    """Knowledge distillation (Hinton et al. 2015): tau^2 KL(softmax(t / tau) || softmax(s / tau)).

    Parameters
    ----------
    student_logits, teacher_logits : Tensor [..., C]
        A class may be masked by -inf in both.
    temperature : float
        tau, the same for both.
    reduction : {"mean", "sum", "none"}
        Over rows; the mean is the "batchmean" of `torch.nn.functional.kl_div`.

    Returns
    -------
    Tensor
        Scalar, or [...] for reduction "none"; the student's dtype, but at least float32.

    Raises
    ------
    ValueError
        Wrong types, shapes that differ, a bad temperature or reduction, the mean of 0 rows. Where
        values can be read (see `pld_edu.losses`): NaN or +inf, -inf in the student alone.
    """
    check_temperature(temperature)
    s, t = as_logits_pair(student_logits, teacher_logits)
    check_masked_classes(s, t)
    rows = temperature**2 * _kl_divergence(t / temperature, s / temperature)
    return _reduce(rows, reduction, student_logits)


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """DIST (Huang et al. 2022): match correlations of rows and of columns, not probabilities.

    ``beta tau^2 (1 - mean row correlation) + gamma tau^2 (1 - mean column correlation)`` of the
    two softmax matrices. Its value depends on the batch: for one row the second term is constant.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor [..., C]
        All leading axes together are the batch. A class masked by -inf in both counts with
        probability 0, in the correlations too.
    temperature, beta, gamma : float
    reduction : "mean"
        The only one: the loss belongs to the batch, not to a row.

    Returns
    -------
    Tensor
        Scalar; the student's dtype, but at least float32.

    Raises
    ------
    ValueError
        As in `kd_loss`, or for another reduction, or an empty batch.
    """
    if reduction != "mean":
        raise ValueError(
            f'dist_loss is one value for a whole batch: reduction must be "mean", got {reduction!r}'
        )
    check_temperature(temperature)
    s, t = as_logits_pair(student_logits, teacher_logits)
    check_masked_classes(s, t)
    classes = s.shape[-1]
    a = (s / temperature).softmax(dim=-1).reshape(-1, classes)
    b = (t / temperature).softmax(dim=-1).reshape(-1, classes)
    if len(a) == 0:
        raise ValueError("the batch is empty (0 rows) and has no correlations; skip it")
    inter = 1.0 - _pearson(a, b).mean()
    intra = 1.0 - _pearson(a.T, b.T).mean()
    loss = temperature**2 * (beta * inter + gamma * intra)
    return loss.to(torch.promote_types(student_logits.dtype, torch.float32))


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
    reduction: str = "mean",
) -> Tensor:
    """Decoupled KD (Zhao et al. 2022): KD's two parts, label against rest and within the rest.

    ``tau^2 (alpha KL(label, rest) + beta KL(among the other classes))``.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor [..., C]
        A class other than the label may be masked by -inf in both.
    labels : integer Tensor [...]
    temperature, alpha, beta : float
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Scalar, or [...] for reduction "none"; the student's dtype, but at least float32.

    Raises
    ------
    ValueError
        As in `kd_loss`, or for an impossible label.
    """
    check_temperature(temperature)
    s, t = as_logits_pair(student_logits, teacher_logits)
    y, _ = as_labels(labels, s, ignore_index=None)
    check_masked_classes(s, t)
    check_label_unmasked(s, y)
    s, t = s / temperature, t / temperature
    s_rest, t_rest = _others(s, y), _others(t, y)
    target = _kl_divergence(_label_and_rest(t, y, t_rest), _label_and_rest(s, y, s_rest))
    within = _kl_divergence(t_rest, s_rest)
    return _reduce(temperature**2 * (alpha * target + beta * within), reduction, student_logits)


class KDLoss(nn.Module):
    """``ce_weight * cross-entropy + kd_weight * kd_loss``; 0.1 and 0.9 are usual.

    A label of -100 leaves its row out of the cross-entropy; the distillation term has no labels.
    """

    def __init__(
        self, temperature: float = 4.0, ce_weight: float = 0.1, kd_weight: float = 0.9
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature
        self.ce_weight = ce_weight
        self.kd_weight = kd_weight

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        hard = cross_entropy(student_logits, labels)
        soft = kd_loss(student_logits, teacher_logits, temperature=self.temperature)
        return self.ce_weight * hard + self.kd_weight * soft

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, ce_weight={self.ce_weight}, "
            f"kd_weight={self.kd_weight}"
        )


class DISTLoss(nn.Module):
    """``ce_weight * cross-entropy + dist_loss`` with beta = gamma = 2, as its authors train it.

    A label of -100 leaves its row out of the cross-entropy; the distillation term has no labels.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        ce_weight: float = 1.0,
        beta: float = 2.0,
        gamma: float = 2.0,
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature
        self.ce_weight = ce_weight
        self.beta = beta
        self.gamma = gamma

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        correlation = dist_loss(
            student_logits,
            teacher_logits,
            temperature=self.temperature,
            beta=self.beta,
            gamma=self.gamma,
        )
        return self.ce_weight * cross_entropy(student_logits, labels) + correlation

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, ce_weight={self.ce_weight}, "
            f"beta={self.beta}, gamma={self.gamma}"
        )


class DKDLoss(nn.Module):
    """``ce_weight * cross-entropy + dkd_loss``, without the warm-up of the original recipe."""

    def __init__(
        self,
        temperature: float = 4.0,
        ce_weight: float = 1.0,
        alpha: float = 1.0,
        beta: float = 8.0,
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature
        self.ce_weight = ce_weight
        self.alpha = alpha
        self.beta = beta

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        decoupled = dkd_loss(
            student_logits,
            teacher_logits,
            labels,
            temperature=self.temperature,
            alpha=self.alpha,
            beta=self.beta,
        )
        return self.ce_weight * cross_entropy(student_logits, labels) + decoupled

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, ce_weight={self.ce_weight}, "
            f"alpha={self.alpha}, beta={self.beta}"
        )


def _choice_losses(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the log-probability of each choice but the last along the teacher's ranking."""
    s, t = as_logits_pair(student_logits, teacher_logits)
    check_finite("student_logits", s)
    check_finite("teacher_logits", t)
    return choice_losses(s.gather(-1, teacher_ranking(t, labels)))


def _kl_divergence(t: Tensor, s: Tensor) -> Tensor:
    """KL(softmax(t) || softmax(s)) of each row; a choice among no classes costs nothing."""
    nothing = t.isneginf().all(dim=-1, keepdim=True)
    t, s = torch.where(nothing, 0.0, t), torch.where(nothing, 0.0, s)
    p = t.softmax(dim=-1)
    log_ratio = t.log_softmax(dim=-1) - s.log_softmax(dim=-1)
    return torch.where(p > 0, p * log_ratio, 0.0).sum(dim=-1)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of each row of `a` with that of `b`; 1e-8 keeps a constant row at 0."""
    a = a - a.mean(dim=-1, keepdim=True)
    b = b - b.mean(dim=-1, keepdim=True)
    norms = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    return (a * b).sum(dim=-1) / (norms + 1e-8)


def _others(z: Tensor, y: Tensor) -> Tensor:
    """The logits [..., C-1] of all classes but the label."""
    index = torch.arange(z.shape[-1] - 1, device=z.device)
    return z.gather(-1, index + (index >= y.unsqueeze(-1)))


def _label_and_rest(z: Tensor, y: Tensor, rest: Tensor) -> Tensor:
    label = z.gather(-1, y.unsqueeze(-1)).squeeze(-1)
    return torch.stack([label, fill_masked(rest, rest.isneginf()).logsumexp(dim=-1)], dim=-1)


def _reduce(rows: Tensor, reduction: str, like: Tensor) -> Tensor:
    check_reduction(reduction)
    return reduce_rows(rows, torch.ones_like(rows, dtype=torch.bool), reduction, like)
