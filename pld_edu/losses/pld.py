"""Plackett-Luce Distillation (arXiv 2506.12542) in PyTorch: ranking, weights, loss, gradient."""

import torch
from torch import Tensor, nn

from .plackett_luce import check_ranking, log_odds_against, softplus, stick_breaking
from .validation import (
    as_labels,
    as_logits,
    as_logits_pair,
    check_label_unmasked,
    check_masked_classes,
    check_no_nan_or_posinf,
    check_reduction,
    check_temperature,
    fill_masked,
    reduce_rows,
    refuse,
    rows_in_mean,
)

WEIGHTS = ("teacher", "label", "one-hot", "uniform", "position")


def teacher_ranking(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """The teacher-optimal permutation pi* (paper, Sec. 4.1): label first, then by teacher logit.

    Parameters
    ----------
    teacher_logits : Tensor [..., C]
    labels : integer Tensor [...]

    Returns
    -------
    int64 Tensor [..., C]
        Classes from first to last rank. Equal logits keep the lower class index first.

    Raises
    ------
    ValueError
        Wrong types or shapes. Where values can be read (see `pld_edu.losses`): NaN, +inf, or a
        label outside 0..C-1.
    """
    t = as_logits("teacher_logits", teacher_logits).detach()
    y, _ = as_labels(labels, t, ignore_index=None)
    check_no_nan_or_posinf("teacher_logits", t)
    return _label_first(t, y)


def rank_weights(
    teacher_logits: Tensor,
    ranking: Tensor,
    *,
    temperature: float = 1.0,
    weights: str | Tensor = "teacher",
) -> Tensor:
    """The weights alpha_k in rank order (paper, Sec. 4.2).

    Parameters
    ----------
    teacher_logits : Tensor [..., C]
    ranking : integer Tensor [..., C]
        From `teacher_ranking`.
    temperature : float
        Divides the teacher's logits, here and nowhere else.
    weights : str or Tensor [..., C]
        "teacher", "label", "one-hot", "uniform", "position", or an array in rank order; their
        meanings are those of `pld_edu.reference.rank_weights`.

    Returns
    -------
    float64 Tensor [..., C]
        Detached.

    Raises
    ------
    ValueError
        An unknown name, tensors of other shapes, a temperature that is not positive and finite.
        Where values can be read (see `pld_edu.losses`): NaN or +inf, repeated classes, negative or
        non-finite weights.
    """
    check_temperature(temperature)
    t = as_logits("teacher_logits", teacher_logits).detach()
    check_no_nan_or_posinf("teacher_logits", t)
    check_ranking(ranking, t.shape[-1])
    if ranking.shape != t.shape:
        raise ValueError(
            "ranking must hold every class of each row of teacher_logits, shape "
            f"{tuple(t.shape)}, got shape {tuple(ranking.shape)}"
        )
    return _weights_by_rank(t, ranking, temperature, weights)


def pld_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    weights: str | Tensor = "teacher",
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """The PLD loss (paper, Sec. 4.2).

    Parameters
    ----------
    student_logits, teacher_logits : Tensor [..., C]
        Any floating dtype. A class may be masked by -inf in both; it then takes no part in any
        choice. No gradient flows into the teacher.
    labels : integer Tensor [...]
    temperature : float
        Temperature of the weights; order and student are not touched by it.
    weights : str or Tensor [..., C]
        See `rank_weights`.
    reduction : {"mean", "sum", "none"}
    ignore_index : int
        Rows with this label count for nothing; if there is no other, the mean is nan, as in
        `torch.nn.functional.cross_entropy`.

    Returns
    -------
    Tensor
        Scalar, or [...] for reduction "none"; the student's dtype, but at least float32.

    Raises
    ------
    ValueError
        Wrong types, shapes that differ, a bad temperature, weights or reduction, the mean of 0
        rows. Where values can be read (see `pld_edu.losses`): NaN or +inf, -inf in the student
        alone or at the label, a label outside 0..C-1.

    Examples
    --------
    >>> import torch
    >>> s, t = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 2.0, -1.0]])
    >>> round(pld_loss(s, t, torch.tensor([2])).item(), 6)
    0.26204
    """
    check_reduction(reduction)
    case = _rank(student_logits, teacher_logits, labels, temperature, weights, ignore_index)
    _, alpha, log_odds, keep = case
    losses = (alpha[..., :-1] * softplus(log_odds)).sum(dim=-1)
    return reduce_rows(losses, keep, reduction, student_logits)


def pld_gradient(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    weights: str | Tensor = "teacher",
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """Gradient of the reduced loss with respect to the student's logits (paper, App. A).

    ``dL/ds = sum_k alpha_k (sigma_k - e_{pi*_k})`` with sigma_k the softmax over ranks k and later,
    computed by stick breaking. Parameters and errors as in `pld_loss`. Itself differentiable.

    Returns
    -------
    Tensor [..., C]
        For reduction "none": each row's own gradient. The student's dtype, but at least float32.
    """
    check_reduction(reduction)
    case = _rank(student_logits, teacher_logits, labels, temperature, weights, ignore_index)
    ranking, alpha, log_odds, keep = case
    ranked = stick_breaking(log_odds, alpha) / rows_in_mean(keep, reduction)
    gradient = torch.zeros_like(ranked).scatter(-1, ranking, ranked)
    gradient = torch.where(keep.unsqueeze(-1), gradient, 0.0)
    return gradient.to(torch.promote_types(student_logits.dtype, torch.float32))


class PLDLoss(nn.Module):
    """`pld_loss` as a module, called ``(student_logits, teacher_logits, labels)``."""

    function = staticmethod(pld_loss)  # `fast.PLDLoss` has another one

    def __init__(
        self,
        temperature: float = 1.0,
        weights: str = "teacher",
        reduction: str = "mean",
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        check_reduction(reduction)
        self.temperature = temperature
        self.weights = weights
        self.reduction = reduction
        self.ignore_index = ignore_index

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        return self.function(
            student_logits,
            teacher_logits,
            labels,
            temperature=self.temperature,
            weights=self.weights,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
        )

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, weights={self.weights!r}"


def _rank(
    s: Tensor, t: Tensor, y: Tensor, temperature: float, weights: str | Tensor, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ranking, weights and log-odds in rank order, and the rows that count; others are all 0."""
    check_temperature(temperature)
    s, t = as_logits_pair(s, t)
    y, keep = as_labels(y, s, ignore_index)
    s, t = (torch.where(keep.unsqueeze(-1), z, 0.0) for z in (s, t))
    check_masked_classes(s, t)
    check_label_unmasked(s, y)
    ranking = _label_first(t, y)
    alpha = _weights_by_rank(t, ranking, temperature, weights)
    masked = s.isneginf() & t.isneginf()
    alpha = torch.where(masked.gather(-1, ranking), 0.0, alpha)
    log_odds = log_odds_against(fill_masked(s, masked).gather(-1, ranking))
    return ranking, alpha, log_odds, keep


def _label_first(t: Tensor, y: Tensor) -> Tensor:
    key = t.scatter(-1, y.unsqueeze(-1), float("inf"))
    return key.argsort(dim=-1, descending=True, stable=True)


def _weights_by_rank(
    t: Tensor, ranking: Tensor, temperature: float, weights: str | Tensor
) -> Tensor:
    if not isinstance(weights, str):
        return _given_weights(weights, t)
    classes = t.shape[-1]
    if weights in ("teacher", "label"):
        below = t - t.amax(dim=-1, keepdim=True)
        alpha = (below / temperature).softmax(dim=-1).gather(-1, ranking)
        if weights == "teacher":
            return alpha
    else:
        alpha = torch.ones_like(t)
    k = torch.arange(1, classes + 1, device=t.device, dtype=t.dtype)
    if weights in ("label", "one-hot"):
        return alpha * (k == 1)
    if weights == "uniform":
        return alpha / classes
    if weights == "position":
        halves = torch.exp2(-k) - 2.0**-classes
        return alpha * (halves / halves.sum() if classes > 1 else 1.0)
    raise ValueError(f"weights must be one of {WEIGHTS} or a tensor in rank order, got {weights!r}")


def _given_weights(weights: Tensor, t: Tensor) -> Tensor:
    alpha = as_logits("weights", weights).detach()
    if alpha.shape != t.shape:
        raise ValueError(
            "weights in rank order must have the shape of the logits, "
            f"{tuple(t.shape)}, got {tuple(alpha.shape)}"
        )
    refuse(
        ~(alpha.isfinite() & (alpha >= 0)),
        lambda at: (
            "weights must be finite and not negative: a negative one is not convex; "
            f"got {alpha[at].item()} at index {list(at)}"
        ),
    )
    return alpha
