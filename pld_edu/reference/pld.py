"""Plackett-Luce Distillation (arXiv 2506.12542): teacher ranking, weights, loss, derivatives.

    L = sum_k alpha_k [ -s_{pi*_k} + log sum_{l >= k} exp(s_{pi*_l}) ]

pi* puts the label first and the other classes by descending teacher logit; alpha_k is the
teacher's own probability, at temperature tau, of the class at rank k.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from .plackett_luce import as_ranking, log_odds_against, stick_breaking
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
    row_factor,
)

WEIGHTS = ("teacher", "label", "one-hot", "uniform", "position")


def teacher_ranking(teacher_logits: ArrayLike, labels: ArrayLike) -> Ints:
    """The teacher-optimal permutation pi* (paper, Sec. 4.1): label first, then by teacher logit.

    Parameters
    ----------
    teacher_logits : array [..., C]
    labels : int array [...]

    Returns
    -------
    int array [..., C]
        Classes from first to last rank. Equal logits keep the lower class index first.

    Raises
    ------
    ValueError
        Wrong shapes, NaN or +inf, or a label that is not an integer in 0..C-1.
    """
    t = as_logits("teacher_logits", teacher_logits)
    y, _ = as_labels(labels, t, ignore_index=None)
    check_values("teacher_logits", t, minus_infinity=True)
    return _label_first(t, y)


def rank_weights(
    teacher_logits: ArrayLike,
    ranking: ArrayLike,
    *,
    temperature: float = 1.0,
    weights: str | ArrayLike = "teacher",
) -> Floats:
    """The weights alpha_k in rank order (paper, Sec. 4.2).

    Parameters
    ----------
    teacher_logits : array [..., C]
    ranking : int array [..., C]
        From `teacher_ranking`.
    temperature : float
        Divides the teacher's logits, here and nowhere else.
    weights : str or array [..., C]
        ================  =======================================  ======================
        "teacher"         softmax(t / tau), not renormalised        PLD
        "label"           the label's softmax(t / tau), then 0      weighted cross-entropy
        "one-hot"         1, then 0                                 cross-entropy
        "uniform"         1 / C                                     ListMLE / C
        "position"        2^-k - 2^-C, scaled to sum 1              P-ListMLE
        array             taken as given, in rank order
        ================  =======================================  ======================

        C counts masked classes too; `pld_loss` drops the weights of their ranks.

    Returns
    -------
    array [..., C]

    Raises
    ------
    ValueError
        An unknown name; arrays of other shapes; repeated classes; NaN or +inf; negative or
        non-finite weights; a temperature that is not positive and finite.
    """
    t = as_logits("teacher_logits", teacher_logits)
    check_values("teacher_logits", t, minus_infinity=True)
    tau = check_temperature(temperature)
    classes = t.shape[-1]
    pi = as_ranking(ranking, classes)
    if pi.shape != t.shape:
        raise ValueError(
            "ranking must hold every class of each row of teacher_logits, shape "
            f"{t.shape}, got shape {pi.shape}"
        )
    if not isinstance(weights, str):
        return _given_weights(weights, t.shape)
    alpha = np.zeros(t.shape)
    if weights in ("teacher", "label"):
        with np.errstate(over="ignore"):
            below = (t - t.max(axis=-1, keepdims=True)) / tau
        alpha = np.take_along_axis(softmax(below, axis=-1), pi, axis=-1)
        if weights == "label":
            alpha[..., 1:] = 0.0
    elif weights == "one-hot":
        alpha[..., 0] = 1.0
    elif weights == "uniform":
        alpha[...] = 1.0 / classes
    elif weights == "position":
        halves = 2.0 ** -np.arange(1.0, classes + 1) - 2.0 ** -float(classes)
        alpha[...] = halves / halves.sum() if classes > 1 else 1.0
    else:
        raise ValueError(
            f"weights must be one of {WEIGHTS} or an array in rank order, got {weights!r}"
        )
    return alpha


def pld_loss(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: float = 1.0,
    weights: str | ArrayLike = "teacher",
    reduction: str = "mean",
    ignore_index: int = -100,
) -> float | Floats:
    """The PLD loss (paper, Sec. 4.2).

    Parameters
    ----------
    student_logits, teacher_logits : array [..., C]
        A class may be masked by -inf in both; it then takes no part in any choice.
    labels : int array [...]
    temperature : float
        Temperature of the weights; order and student are not touched by it.
    weights : str or array [..., C]
        See `rank_weights`.
    reduction : {"mean", "sum", "none"}
    ignore_index : int
        Rows with this label count for nothing; if there is no other, the mean is nan, as in
        `torch.nn.functional.cross_entropy`.

    Returns
    -------
    float, or array [...] for reduction "none"

    Raises
    ------
    ValueError
        Shapes that differ; NaN or +inf; -inf in the student alone or at the label; labels that
        are not integers in 0..C-1; a bad temperature, weights or reduction; the mean of 0 rows.
    """
    check_reduction(reduction)
    case = _rank(student_logits, teacher_logits, labels, temperature, weights, ignore_index)
    losses = np.zeros_like(case.log_odds)
    np.multiply(case.alpha, np.logaddexp(0.0, case.log_odds), out=losses, where=case.alpha > 0)
    return reduce_rows(losses.sum(axis=-1), case.keep, reduction)


def pld_gradient(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: float = 1.0,
    weights: str | ArrayLike = "teacher",
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Floats:
    """Gradient of the reduced loss with respect to the student's logits (paper, App. A).

    ``dL/ds = sum_k alpha_k (sigma_k - e_{pi*_k})`` with sigma_k the softmax over ranks k and later,
    computed by stick breaking. Parameters and errors as in `pld_loss`.

    Returns
    -------
    array [..., C]
        For reduction "none": each row's own gradient.
    """
    check_reduction(reduction)
    case = _rank(student_logits, teacher_logits, labels, temperature, weights, ignore_index)
    gradient = np.empty_like(case.log_odds)
    np.put_along_axis(gradient, case.ranking, stick_breaking(case.log_odds, case.alpha), axis=-1)
    return np.where(case.keep[..., None], gradient * row_factor(case.keep, reduction), 0.0)


def pld_hessian(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: float = 1.0,
    weights: str | ArrayLike = "teacher",
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Floats:
    """Hessian blocks of the reduced loss, one per row; between rows it is zero.

    ``sum_k alpha_k (diag(sigma_k) - sigma_k sigma_k^T)``: positive semidefinite, null vector 1.
    Parameters and errors as in `pld_loss`.

    Returns
    -------
    array [..., C, C]
    """
    check_reduction(reduction)
    case = _rank(student_logits, teacher_logits, labels, temperature, weights, ignore_index)
    s = np.take_along_axis(np.asarray(student_logits, np.float64), case.ranking, axis=-1)
    s = np.where(case.keep[..., None], s, 0.0)
    classes = s.shape[-1]
    ranked = np.zeros((*s.shape, classes))
    for k in range(classes):
        tail = s[..., k:]
        masked = np.isneginf(tail).all(axis=-1, keepdims=True)
        sigma = softmax(np.where(masked, 0.0, tail), axis=-1)
        outer = sigma[..., :, None] * sigma[..., None, :]
        ranked[..., k:, k:] -= case.alpha[..., k, None, None] * outer
    # sigma (1 - sigma) loses its digits at sigma near 1; rows sum to zero, so the diagonal is
    # minus the sum of its row's other entries.
    diagonal = np.arange(classes)
    ranked[..., diagonal, diagonal] = 0.0
    ranked[..., diagonal, diagonal] = 0.0 - ranked.sum(axis=-1)
    place = np.argsort(case.ranking, axis=-1)
    hessian = np.take_along_axis(ranked, place[..., :, None], axis=-2)
    hessian = np.take_along_axis(hessian, place[..., None, :], axis=-1)
    return np.where(case.keep[..., None, None], hessian * row_factor(case.keep, reduction), 0.0)


class _Ranked(NamedTuple):
    ranking: Ints
    alpha: Floats
    log_odds: Floats
    keep: NDArray[np.bool_]


def _rank(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    temperature: float,
    weights: str | ArrayLike,
    ignore_index: int,
) -> _Ranked:
    """Checked arguments in the teacher's order; ignored rows are all zeros."""
    s, t = as_logits_pair(student_logits, teacher_logits)
    y, keep = as_labels(labels, s, ignore_index)
    s, t = np.where(keep[..., None], s, 0.0), np.where(keep[..., None], t, 0.0)
    check_masked_classes(s, t)
    check_label_unmasked(s, y)
    ranking = _label_first(t, y)
    alpha = rank_weights(t, ranking, temperature=temperature, weights=weights)
    ranked = np.take_along_axis(s, ranking, axis=-1)
    alpha = np.where(np.isneginf(ranked), 0.0, alpha)
    return _Ranked(ranking, alpha, log_odds_against(ranked), keep)


def _label_first(t: Floats, y: Ints) -> Ints:
    is_label = np.arange(t.shape[-1]) == y[..., None]
    return np.argsort(-np.where(is_label, np.inf, t), axis=-1, kind="stable")


def _given_weights(weights: ArrayLike, shape: tuple[int, ...]) -> Floats:
    alpha = as_logits("weights", weights)
    if alpha.shape != shape:
        raise ValueError(
            f"weights in rank order must have the shape of the logits, {shape}, got {alpha.shape}"
        )
    if not (np.isfinite(alpha) & (alpha >= 0)).all():
        raise ValueError("weights must be finite and not negative: a negative one is not convex")
    return alpha
