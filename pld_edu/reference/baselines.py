"""What PLD is compared with: cross-entropy, ListMLE, P-ListMLE, KD, DIST, DKD.

Each function returns its own term alone; the weights with which cross-entropy is added are in the
modules of `pld_edu.losses`.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax

from .plackett_luce import log_odds_against
from .pld import teacher_ranking
from .validation import (
    Floats,
    Ints,
    as_labels,
    as_logits,
    as_logits_pair,
    check_label_unmasked,
    check_masked_classes,
    check_reduction,
    check_temperature,
    check_values,
    reduce_rows,
)


def cross_entropy(
    student_logits: ArrayLike,
    labels: ArrayLike,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> float | Floats:
    """Negative log-probability of the label: PLD with weights (1, 0, ..., 0).

    Parameters
    ----------
    student_logits : array [..., C]
        -inf masks a class.
    labels : int array [...]
    reduction : {"mean", "sum", "none"}
    ignore_index : int
        Rows with this label count for nothing.

    Returns
    -------
    float, or array [...] for reduction "none"

    Raises
    ------
    ValueError
        Wrong shapes, NaN or +inf, a masked or impossible label, the mean of 0 rows.
    """
    check_reduction(reduction)
    s = as_logits("student_logits", student_logits)
    y, keep = as_labels(labels, s, ignore_index)
    s = np.where(keep[..., None], s, 0.0)
    check_values("student_logits", s, minus_infinity=True)
    check_label_unmasked(s, y)
    log_odds = np.logaddexp.reduce(_others(s, y) - _at_label(s, y)[..., None], axis=-1)
    return reduce_rows(np.logaddexp(0.0, log_odds), keep, reduction)


def list_mle(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    *,
    reduction: str = "mean",
) -> float | Floats:
    """ListMLE (Xia et al. 2008): minus the log-likelihood of the teacher's ranking, label first.

    Parameters
    ----------
    student_logits, teacher_logits : array [..., C]
        Finite.
    labels : int array [...]
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    float, or array [...] for reduction "none"

    Raises
    ------
    ValueError
        Wrong shapes, values that are not finite, impossible labels, the mean of 0 rows.
    """
    steps = _step_losses(student_logits, teacher_logits, labels)
    return _reduce(steps.sum(axis=-1), reduction)


def position_list_mle(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    *,
    reduction: str = "mean",
) -> float | Floats:
    """P-ListMLE (Lan et al. 2014): choice k weighs 2^{C-k} - 1, here scaled to sum to 1.

    The weights are those of the paper's Sec. 4.2. Parameters and errors as in `list_mle`.
    """
    steps = _step_losses(student_logits, teacher_logits, labels)
    classes = steps.shape[-1]
    if classes == 1:
        return _reduce(steps.sum(axis=-1), reduction)
    # Divided by 2^C, so that it stays finite for any C.
    alpha = np.array([2.0**-k - 2.0**-classes for k in range(1, classes + 1)])
    return _reduce((steps * alpha).sum(axis=-1) / alpha.sum(), reduction)


def kd_loss(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    *,
    temperature: float = 4.0,
    reduction: str = "mean",
) -> float | Floats:
    """Knowledge distillation (Hinton et al. 2015): tau^2 KL(softmax(t / tau) || softmax(s / tau)).

    Parameters
    ----------
    student_logits, teacher_logits : array [..., C]
        A class may be masked by -inf in both.
    temperature : float
        tau, the same for both.
    reduction : {"mean", "sum", "none"}
        Over rows; the mean is the "batchmean" of `torch.nn.functional.kl_div`.

    Returns
    -------
    float, or array [...] for reduction "none"

    Raises
    ------
    ValueError
        Shapes that differ, NaN or +inf, -inf in the student alone, a bad temperature or
        reduction, the mean of 0 rows.
    """
    tau = check_temperature(temperature)
    s, t = as_logits_pair(student_logits, teacher_logits)
    check_masked_classes(s, t)
    return _reduce(tau**2 * _kl_divergence(t / tau, s / tau), reduction)


def dist_loss(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    *,
    temperature: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    reduction: str = "mean",
) -> float:
    """DIST (Huang et al. 2022): match correlations of rows and of columns, not probabilities.

    ``beta tau^2 (1 - mean row correlation) + gamma tau^2 (1 - mean column correlation)`` of the
    two softmax matrices. Its value depends on the batch: for one row the second term is constant.

    Parameters
    ----------
    student_logits, teacher_logits : array [..., C]
        All leading axes together are the batch. A class masked by -inf in both counts with
        probability 0, in the correlations too.
    temperature, beta, gamma : float
    reduction : "mean"
        The only one: the loss belongs to the batch, not to a row.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As in `kd_loss`, or for another reduction, or an empty batch.
    """
    if reduction != "mean":
        raise ValueError(
            f'dist_loss is one value for a whole batch: reduction must be "mean", got {reduction!r}'
        )
    tau = check_temperature(temperature)
    s, t = as_logits_pair(student_logits, teacher_logits)
    check_masked_classes(s, t)
    classes = s.shape[-1]
    a = softmax(s / tau, axis=-1).reshape(-1, classes)
    b = softmax(t / tau, axis=-1).reshape(-1, classes)
    if len(a) == 0:
        raise ValueError("the batch is empty (0 rows) and has no correlations; skip it")
    inter = 1.0 - _pearson(a, b).mean()
    intra = 1.0 - _pearson(a.T, b.T).mean()
    return float(tau**2 * (beta * inter + gamma * intra))


def dkd_loss(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
    reduction: str = "mean",
) -> float | Floats:
    """Decoupled KD (Zhao et al. 2022): KD's two parts, label against rest and within the rest.

    ``tau^2 (alpha KL(label, rest) + beta KL(among the other classes))``.

    Parameters
    ----------
    student_logits, teacher_logits : array [..., C]
        A class other than the label may be masked by -inf in both.
    labels : int array [...]
    temperature, alpha, beta : float
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    float, or array [...] for reduction "none"

    Raises
    ------
    ValueError
        As in `kd_loss`, or for an impossible label.
    """
    tau = check_temperature(temperature)
    s, t = as_logits_pair(student_logits, teacher_logits)
    y, _ = as_labels(labels, s, ignore_index=None)
    check_masked_classes(s, t)
    check_label_unmasked(s, y)
    s, t = s / tau, t / tau
    s_rest, t_rest = _others(s, y), _others(t, y)
    target = _kl_divergence(_label_and_rest(t, y), _label_and_rest(s, y))
    within = _kl_divergence(t_rest, s_rest)
    return _reduce(tau**2 * (alpha * target + beta * within), reduction)


def _step_losses(student_logits: ArrayLike, teacher_logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Minus the log-probability of each choice along the teacher's ranking."""
    s, t = as_logits_pair(student_logits, teacher_logits)
    check_values("student_logits", s, minus_infinity=False)
    check_values("teacher_logits", t, minus_infinity=False)
    ranking = teacher_ranking(t, labels)
    return np.logaddexp(0.0, log_odds_against(np.take_along_axis(s, ranking, axis=-1)))


def _kl_divergence(t: Floats, s: Floats) -> Floats:
    """KL(softmax(t) || softmax(s)) of each row; a choice among no classes costs nothing."""
    nothing = np.isneginf(t).all(axis=-1, keepdims=True)
    if t.shape[-1] == 0:
        return np.zeros(t.shape[:-1])
    t, s = np.where(nothing, 0.0, t), np.where(nothing, 0.0, s)
    p = softmax(t, axis=-1)
    log_ratio = np.subtract(
        log_softmax(t, axis=-1), log_softmax(s, axis=-1), out=np.zeros(t.shape), where=p > 0
    )
    return (p * log_ratio).sum(axis=-1)


def _pearson(a: Floats, b: Floats) -> Floats:
    """Correlation of each row of `a` with that of `b`; 1e-8 keeps a constant row at 0."""
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(axis=-1) / (norms + 1e-8)


def _at_label(z: Floats, y: Ints) -> Floats:
    return np.take_along_axis(z, y[..., None], axis=-1)[..., 0]


def _others(z: Floats, y: Ints) -> Floats:
    """The logits [..., C-1] of all classes but the label."""
    index = np.arange(z.shape[-1] - 1)
    return np.take_along_axis(z, index + (index >= y[..., None]), axis=-1)


def _label_and_rest(z: Floats, y: Ints) -> Floats:
    return np.stack([_at_label(z, y), np.logaddexp.reduce(_others(z, y), axis=-1)], axis=-1)


def _reduce(rows: Floats, reduction: str) -> float | Floats:
    check_reduction(reduction)
    return reduce_rows(rows, np.ones(rows.shape, bool), reduction)
