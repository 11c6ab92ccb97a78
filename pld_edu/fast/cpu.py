"""The usual batch on a CPU: finite logits of moderate span, nothing ignored.

The formulas are those of `stick_breaking.by_sums`, in the cheapest calls there are. For a small
batch only their number counts, and NumPy's cost less to make than PyTorch's; so rows lie end to end
in flat arrays, of which a shift by one place is one call, and what that brings over from the next
row is overwritten. In a large batch PyTorch's cumsum is faster, and its log1p is fast on any CPU.

Student logits near 0 have an exp in float32 that is right to its last digits, and sums and products
of positive numbers lose none of them. Larger ones lose some when their maximum is subtracted, so
that is done in float64. So are the weights, up to their last rounding: cached ones are the same.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .blocks import blocks, empty_gradient
from .ordering import label_first
from .stick_breaking import WIDEST_SPAN
from .validation import ends
from .weights import by_rank

Floats = npt.NDArray[Any]
RowsAndGradient = tuple[Tensor, Tensor]

SMALL = 2**12  # logits for which a call costs more than its work

# For |s| so small, exp and its quotients and sums over 2**17 classes lie inside a float32 (e^±87).
LARGEST_FLOAT32 = 32.0


def from_teacher(
    s: Tensor, t: Tensor, y: Tensor, temperature: float, weights: str
) -> RowsAndGradient | None:
    """Row losses and gradients; None for an unusual batch.

    Parameters
    ----------
    s, t : floating Tensor [N, C]
    y : int64 Tensor [N]
        In 0..C-1.
    temperature : float
    weights : {"teacher", "label", "one-hot", "uniform", "position"}

    Returns
    -------
    rows : float64 Tensor [N]
    gradient : Tensor [N, C]
        In the student's dtype, but at least float32.
    """
    student, teacher = _exponent(s, largest=LARGEST_FLOAT32), _exponent(t, temperature)
    if student is None or teacher is None:
        return None
    rows, gradient = [], empty_gradient(s)
    for slopes, s_block, t_block, y_block in blocks(s, gradient, s, t, y):
        order = label_first(t_block, y_block)
        if weights == "teacher":
            alpha = _exp(t_block, teacher, temperature)
            alpha /= alpha.sum(axis=-1, keepdims=True)
            alpha = _gathered(alpha.astype(student.dtype, copy=False), order)
        else:
            alpha = by_rank(t_block.gather(-1, order), temperature, weights).numpy()
        rows.append(_losses(_exp(s_block, student), order, alpha, slopes))
    return _joined(rows), gradient


def from_targets(s: Tensor, ranking: Tensor, alpha: Tensor) -> RowsAndGradient | None:
    """As `from_teacher`, with ranking and weights given: integer and floating Tensors [N, C]."""
    student = _exponent(s, largest=LARGEST_FLOAT32)
    if student is None:
        return None
    rows, gradient = [], empty_gradient(s)
    for slopes, s_block, classes, a_block in blocks(s, gradient, s, ranking, alpha):
        order = classes.numpy()
        if order.itemsize == 2:
            order = order.view(np.uint16)
        order = torch.from_numpy(order.astype(np.int64))
        rows.append(_losses(_exp(s_block, student), order, a_block.numpy(), slopes))
    return _joined(rows), gradient


class _Exponent(NamedTuple):
    """What is subtracted from logits before their exp is taken, and in which dtype."""

    shift: float
    dtype: type[np.floating]


def _exponent(
    z: Tensor, temperature: float = 1.0, largest: float | None = None
) -> _Exponent | None:
    """float32 for logits no larger than `largest`; None for logits too far apart, or NaN."""
    if not z.numel():
        return None
    low, high = ends(z)
    if largest is not None and z.dtype != torch.float64 and -largest <= low <= high <= largest:
        return _Exponent(0.0, np.float32)
    usual = high - low <= WIDEST_SPAN * min(temperature, 1.0)
    return _Exponent(high, np.float64) if usual else None


def _exp(z: Tensor, exponent: _Exponent, temperature: float = 1.0) -> Floats:
    """``exp((z - shift) / temperature)``."""
    if exponent.dtype is np.float32:
        return np.exp(z.numpy())
    below = z.numpy().astype(np.float64)
    below -= exponent.shift
    if temperature != 1.0:
        below /= temperature
    return np.exp(below, out=below)


def _gathered(x: Floats, order: Tensor) -> Floats:
    return torch.from_numpy(x).gather(-1, order).numpy()


def _losses(e: Floats, order: Tensor, alpha: Floats, slopes: Tensor) -> Floats:
    """Losses [N], from ``exp(s)`` by class and alpha by rank; the gradient goes to `slopes`."""
    shape, classes = e.shape, e.shape[1]
    e = _gathered(e, order).ravel()
    alpha = alpha.astype(e.dtype, copy=False).ravel()
    tails = _running_sums(e[::-1].copy(), shape)[::-1].copy()

    terms = np.empty_like(e)
    np.divide(tails[1:], e[:-1], out=terms[:-1])
    terms[classes - 1 :: classes] = 0.0
    terms = _log1p(terms)
    terms *= alpha
    losses = terms.reshape(shape).sum(axis=-1)  # pairwise, so float32 will do

    shares = alpha / tails
    earlier = _running_sums(shares.copy(), shape)
    shares[:-1] *= tails[1:]
    shares[classes - 1 :: classes] = 0.0
    e[1:] *= earlier[:-1]
    e[::classes] = 0.0
    e -= shares
    gradient = torch.from_numpy(e.reshape(shape))
    if gradient.dtype != slopes.dtype:
        gradient = gradient.to(slopes.dtype)
    slopes.scatter_(-1, order, gradient)
    return losses


def _joined(rows: list[Floats]) -> Tensor:
    return torch.from_numpy(np.concatenate(rows).astype(np.float64))


def _running_sums(x: Floats, shape: tuple[int, ...]) -> Floats:
    """Along rows and in place, added up in float64."""
    torch.from_numpy(x.reshape(shape)).cumsum_(-1)
    return x


def _log1p(x: Floats) -> Floats:
    return np.log1p(x, out=x) if x.size <= SMALL else torch.from_numpy(x).log1p_().numpy()
