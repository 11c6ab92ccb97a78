"""The usual rows on a CPU: finite logits of moderate span, nothing ignored.

The formulas are those of `stick_breaking.by_sums`, in other calls: NumPy's cost less to make than
PyTorch's, which is all that counts for a small batch; in a large one PyTorch's exp, log1p and
cumsum are faster. Differences of logits and their exp are float64. What comes after is float32 if
the logits are and span little: sums and products of positive numbers lose no digits there.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .ordering import label_first
from .stick_breaking import WIDEST_FLOAT32_SPAN, WIDEST_SPAN
from .weights import by_rank

Floats = npt.NDArray[Any]
SMALL = 2**12  # logits


def from_teacher(
    s: Tensor, t: Tensor, y: Tensor, temperature: float, weights: str, gradient: Tensor
) -> Tensor | None:
    """Row losses, with the gradient written; None, and nothing written, for unusual rows.

    Parameters
    ----------
    s, t : float32 or float64 Tensor [N, C]
    y : int64 Tensor [N]
    temperature : float
    weights : {"teacher", "label", "one-hot", "uniform", "position"}
    gradient : Tensor [N, C]

    Returns
    -------
    Tensor [N] or None
    """
    top, span = _top_and_span(s)
    teacher_top, teacher_span = _top_and_span(t)
    # False for a NaN too.
    if not (span <= WIDEST_SPAN and teacher_span <= WIDEST_SPAN * min(temperature, 1.0)):
        return None
    order = label_first(t, y)
    if weights == "teacher":
        alpha = _exp_below(t.gather(-1, order), teacher_top, temperature)
        alpha /= alpha.sum(axis=-1, keepdims=True)
    else:
        alpha = by_rank(t.gather(-1, order), temperature, weights).numpy()
    return _by_sums(s, order, alpha, top, span, gradient)


def from_targets(s: Tensor, ranking: Tensor, alpha: Tensor, gradient: Tensor) -> Tensor | None:
    """As `from_teacher`, with ranking and weights given: integer and floating Tensors [N, C]."""
    top, span = _top_and_span(s)
    if not span <= WIDEST_SPAN:
        return None
    classes = ranking.numpy()
    if classes.itemsize == 2:
        classes = classes.view(np.uint16)
    order = torch.from_numpy(classes.astype(np.int64))
    return _by_sums(s, order, alpha.numpy(), top, span, gradient)


def _top_and_span(values: Tensor) -> tuple[float, float]:
    array = values.numpy()
    top = float(array.max())
    return top, top - float(array.min())


def _by_sums(
    s: Tensor, order: Tensor, alpha: Floats, top: float, span: float, gradient: Tensor
) -> Tensor:
    narrow = s.dtype == torch.float32 and span <= WIDEST_FLOAT32_SPAN
    real: npt.DTypeLike = np.float32 if narrow else np.float64
    alpha = alpha.astype(real, copy=False)
    e = _exp_below(s.gather(-1, order), top).astype(real, copy=False)
    tails = _cumulated(e[:, ::-1])[:, ::-1]
    if tails.size > SMALL:
        tails = np.ascontiguousarray(tails)
    later = tails[:, 1:]
    terms = _log1p(later / e[:, :-1])
    terms *= alpha[:, :-1]
    losses = torch.from_numpy(terms).sum(dim=-1)  # in a cascade, so float32 will do
    shares = alpha / tails
    earlier = _cumulated(shares)
    shares[:, :-1] *= later
    shares[:, -1] = 0.0
    e[:, 0] = 0.0
    e[:, 1:] *= earlier[:, :-1]
    e -= shares
    gradient.scatter_(-1, order, torch.from_numpy(e).to(gradient.dtype))
    return losses


def _exp_below(z: Tensor, top: float, temperature: float = 1.0) -> Floats:
    """``exp((z - top) / temperature)`` in float64."""
    if z.numel() <= SMALL:
        below = np.subtract(z.numpy(), top, dtype=np.float64)
        if temperature != 1.0:
            below /= temperature
        return np.exp(below, out=below)
    z = z.to(torch.float64, copy=True).sub_(top)
    return (z if temperature == 1.0 else z.div_(temperature)).exp_().numpy()


def _log1p(x: Floats) -> Floats:
    if x.size <= SMALL:
        return np.log1p(x, out=x)
    torch.log1p_(torch.from_numpy(x))
    return x


def _cumulated(x: Floats) -> Floats:
    """Sums along rows; PyTorch adds up in float64, and knows no negative strides."""
    return torch.from_numpy(x if x.strides[-1] > 0 else x.copy()).cumsum(dim=-1).numpy()
