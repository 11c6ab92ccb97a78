"""The checks of `losses` at the price of a few comparisons.

`losses.validation` converts what it checks to float64, which would cost more than the loss does
here. So arguments are looked at first, and only what looks wrong is sent there, for its sentence.
"""

from math import inf

import torch
from torch import Tensor

from ..losses.pld import WEIGHTS, rank_weights
from ..losses.validation import INTEGERS, as_labels, as_logits, as_logits_pair


def check_logits(name: str, values: Tensor) -> None:
    """Refuse what is no floating tensor [..., C]."""
    if not _are_logits(values):
        as_logits(name, values)


def check_pair(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Refuse what are no floating tensors of one shape [..., C]."""
    s, t = student_logits, teacher_logits
    if not (_are_logits(s) and _are_logits(t) and s.shape == t.shape):
        as_logits_pair(s, t)


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Refuse what are no integers, one a row of logits; their range is looked at elsewhere."""
    fine = isinstance(labels, Tensor) and labels.dtype in INTEGERS
    if not (fine and labels.shape == logits.shape[:-1]):
        as_labels(labels, logits, None)


def check_weights(weights: str | Tensor, logits: Tensor) -> None:
    """Refuse what is no name of weights, and no tensor of the logits' shape."""
    if isinstance(weights, str):
        fine = weights in WEIGHTS
    else:
        fine = _are_logits(weights) and weights.shape == logits.shape
    if not fine:
        _refuse(weights, logits)


def checked_weights(weights: Tensor) -> Tensor:
    """Weights [..., C], detached; on the CPU none is negative, infinite or NaN."""
    weights = weights.detach()
    if weights.device.type == "cpu" and weights.numel():
        low, high = ends(weights)
        if not 0 <= low <= high < inf:
            _refuse(weights, weights)
    return weights


def ends(values: Tensor) -> tuple[float, float]:
    """Smallest and largest value; NaN if there is one."""
    low, high = values.aminmax()
    return low.item(), high.item()


def _refuse(weights: str | Tensor, logits: Tensor) -> None:
    """Have `losses` say what is wrong with the weights."""
    blank = torch.zeros(logits.shape)
    rank_weights(blank, blank.argsort(dim=-1), weights=weights)


def _are_logits(values: Tensor) -> bool:
    return (
        isinstance(values, Tensor)
        and values.is_floating_point()
        and values.ndim > 0
        and values.shape[-1] > 0
    )
