"""The numbers of `losses.pld_loss` for the usual batch, with the gradient computed beside the loss.

With scores in rank order, ``e_k = exp(s_{pi_k})`` and tails ``T_k = sum_{l >= k} e_l``,

    L = sum_k alpha_k log(1 + T_{k+1} / e_k)
    dL/ds_{pi_k} = e_k sum_{j < k} alpha_j / T_j - alpha_k T_{k+1} / T_k

Both are running sums of positive terms. No small number is the difference of two large ones, so
tiny gradients keep their digits.
"""

from collections.abc import Callable
from math import inf
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import losses
from ..losses.validation import INTEGERS, check_reduction, check_temperature

Floats = npt.NDArray[Any]
Ranked = tuple[Tensor, Tensor]  # a ranking and weights, both [n, C]
LossAndGradient = tuple[Tensor, Tensor]

BLOCK = 2**16  # logits; the arrays of so many fit a processor's second-level cache
LARGEST_FLOAT32 = 32.0  # exp(s), sums of 2^17 of them and their quotients lie within float32
WIDEST_SPAN = 600.0  # the same for logits below their maximum, within float64
TOO_SMALL_TO_PACK, LARGEST_TO_PACK = 16, 512  # classes; for the ways to sort in `label_first`


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
    """`losses.pld_loss`, several times faster for the usual batch (see `pld_edu.fast`).

    Parameters, result and errors are those of `losses.pld_loss`. To ask for a second derivative of
    the usual batch is a RuntimeError.
    """
    check_reduction(reduction)
    check_temperature(temperature)
    s, t, y = student_logits, teacher_logits, labels
    if isinstance(weights, str) and weights == "teacher" and are_plain(s, t, y):
        found = _live(s, t, y, temperature, reduction, ignore_index)
        if found is not None:
            return WithGradient.apply(s, found)[0]
    return losses.pld_loss(
        student_logits,
        teacher_logits,
        labels,
        temperature=temperature,
        weights=weights,
        reduction=reduction,
        ignore_index=ignore_index,
    )


def _live(
    s: Tensor, t: Tensor, labels: Tensor, temperature: float, reduction: str, ignore_index: int
) -> LossAndGradient | None:
    """The reduced loss and its gradient; None for an unusual batch."""
    if labels.dtype not in INTEGERS or labels.shape != s.shape[:-1]:
        return None
    kernel = cuda_kernel(s, t)
    if kernel:
        return kernel.live(s, t, labels, temperature, reduction, ignore_index)
    classes = s.shape[-1]
    if not s.is_cpu or 0 <= ignore_index < classes:
        return None
    t, y = as_rows(t), labels.reshape(-1).long()
    low, high = ends(t)
    # As an unsigned number, a negative label is too large as well.
    if not (high - low) / temperature < inf or y.numpy().view(np.uint64).max() >= classes:
        return None

    def rank(block: slice) -> Ranked:
        order = label_first(t[block], y[block])
        # The label is on rank 0, the best of the others on rank 1. Divided last: a tiny temperature
        # must not make infinities of both sides of the difference.
        below = t[block].gather(-1, order).numpy().astype(np.float64)
        below -= below[:, :2].max(axis=-1, keepdims=True)
        alpha = np.exp(below / temperature)
        alpha /= alpha.sum(axis=-1, keepdims=True)
        return order, torch.from_numpy(alpha)

    return along_rankings(s, rank, reduction)


class PLDLoss(losses.PLDLoss):
    """`pld_loss` as a module, called ``(student_logits, teacher_logits, labels)``."""

    function = staticmethod(pld_loss)


class WithGradient(torch.autograd.Function):
    """``apply(student_logits, (loss, gradient))``: the loss, whose derivative is known already.

    The gradient [..., C] is that of the reduced loss. It is an output too, so that autograd comes
    here when it is to be differentiated once more.
    """

    @staticmethod
    def forward(ctx: Any, student_logits: Tensor, found: LossAndGradient) -> LossAndGradient:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(found[1])
        ctx.dtype = student_logits.dtype
        return found

    @staticmethod
    def backward(ctx: Any, grad: Any, grad_of_gradient: Tensor | None) -> Any:
        if grad_of_gradient is not None:
            raise RuntimeError(
                "pld_edu.fast has no second derivative, because its gradient comes with the loss; "
                "use pld_edu.losses, whose pld_loss takes the same arguments and has one"
            )
        if grad is None:
            return None, None
        return (grad.unsqueeze(-1) * ctx.saved_tensors[0]).to(ctx.dtype), None


def are_plain(s: Tensor, t: Tensor, *others: Tensor) -> bool:
    """Whether these are ordinary tensors of one device, s and t logits, and no transform is on."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    return (
        all(
            type(z) in (Tensor, torch.nn.Parameter) and z.device == s.device
            for z in (s, t, *others)
        )
        and s.is_floating_point()
        and t.is_floating_point()
        and s.ndim > 0
        and s.numel() > 0
        and s.shape == t.shape
    )


def cuda_kernel(*logits: Tensor) -> ModuleType | None:
    """The module `kernel`, if it can take these logits."""
    if not logits[0].is_cuda:
        return None
    from . import kernel  # who has no GPU need not wait for Triton

    return kernel if kernel.fits(*logits) else None


def as_rows(logits: Tensor) -> Tensor:
    """Detached logits [N, C], in at least float32."""
    z = logits.detach()
    z = z if z.ndim == 2 else z.reshape(-1, z.shape[-1])
    return z if z.dtype in (torch.float32, torch.float64) else z.float()


def along_rankings(
    s: Tensor, rank: Callable[[slice], Ranked], reduction: str
) -> LossAndGradient | None:
    """The reduced loss and its gradient, block by block; None for NaN and logits too far apart.

    `rank` gives the ranking and the weights of a slice of the rows of the student's logits s.
    """
    logits = as_rows(s)
    low, high = ends(logits)
    if not high - low <= WIDEST_SPAN:
        return None
    small = logits.dtype == torch.float32 and -LARGEST_FLOAT32 <= low <= high <= LARGEST_FLOAT32
    rows, gradient = np.empty(len(logits)), torch.empty_like(logits)
    step, count = max(1, BLOCK // s.shape[-1]), len(rows) if reduction == "mean" else 1
    for block in (slice(start, start + step) for start in range(0, len(logits), step)):
        order, alpha = rank(block)
        scores = logits[block].gather(-1, order)
        # Small ones need no shift, which would cost digits in float32.
        e = np.exp(scores.numpy() if small else scores.numpy().astype(np.float64) - high)
        values, slopes = _sums(e, alpha.numpy().astype(e.dtype, copy=False))
        rows[block] = values
        slopes /= count
        gradient[block].scatter_(-1, order, torch.from_numpy(slopes).to(gradient.dtype))
    loss = rows.reshape(s.shape[:-1]) if reduction == "none" else rows.sum() / count
    return torch.tensor(loss, dtype=gradient.dtype), gradient.view(s.shape)


def ends(values: Tensor) -> tuple[float, float]:
    """Smallest and largest value; NaN if there is one."""
    low, high = values.aminmax()
    return low.item(), high.item()


def label_first(t: Tensor, y: Tensor) -> Tensor:
    """`losses.teacher_ranking` of rows on the CPU, by sorts of integers.

    The bits of a float32, read as a signed integer, keep the order of the floats once those of
    negative numbers are inverted. Such a key and a class fit side by side in one int64, for one
    vectorised `numpy.sort`; for many classes, two stable sorts of 16 bits are faster, radix sorts.
    """
    # Ascending order of the negative; 0 - 0.0 and 0 - (-0.0) are both 0.0.
    negative = np.subtract(0, t.numpy(), dtype=t.numpy().dtype)
    negative[np.arange(len(negative)), y.numpy()] = -np.inf
    classes = negative.shape[1]
    if classes <= TOO_SMALL_TO_PACK or negative.itemsize > 4:
        return torch.from_numpy(negative.argsort(axis=-1, kind="stable"))
    keys = negative.view(np.int32)
    keys ^= (keys >> 31) & 0x7FFFFFFF
    if classes <= LARGEST_TO_PACK:
        packed = keys.astype(np.int64) << 32
        packed |= np.arange(classes)
        packed.sort(axis=-1)
        packed &= 0xFFFFFFFF
        return torch.from_numpy(packed)
    low, high = keys.astype(np.uint16), (keys >> 16).astype(np.int16)
    high ^= np.int16(-(2**15))  # now unsigned numbers are in the order of the signed ones
    order = torch.from_numpy(low.argsort(axis=-1, kind="stable"))
    high = torch.from_numpy(high).gather(-1, order).numpy().view(np.uint16)
    return order.gather(-1, torch.from_numpy(high.argsort(axis=-1, kind="stable")))


def _sums(e: Floats, alpha: Floats) -> tuple[Floats, Floats]:
    """Losses [N] and gradient [N, C] in rank order, from ``e_k = exp(s_{pi_k})`` and alpha_k.

    Rows lie end to end in flat arrays, of which a shift by one rank is one cheap call; what it
    brings over from the next row is overwritten.
    """
    shape, classes = e.shape, e.shape[1]
    tails = torch.from_numpy(e).flip(-1).cumsum(-1).flip(-1).numpy().ravel()  # T_k
    e, alpha = e.ravel(), alpha.ravel()

    terms = np.empty_like(e)
    np.divide(tails[1:], e[:-1], out=terms[:-1])  # T_{k+1} / e_k
    terms[classes - 1 :: classes] = 0.0
    torch.from_numpy(terms).log1p_()
    terms *= alpha
    values = terms.reshape(shape).sum(axis=-1)  # pairwise, so float32 will do

    shares = alpha / tails
    earlier = torch.from_numpy(shares).view(shape).cumsum(-1).numpy().ravel()
    shares[:-1] *= tails[1:]  # alpha_k T_{k+1} / T_k
    shares[classes - 1 :: classes] = 0.0
    e[1:] *= earlier[:-1]  # e_k sum_{j < k} alpha_j / T_j
    e[::classes] = 0.0
    e -= shares
    return values, e.reshape(shape)
