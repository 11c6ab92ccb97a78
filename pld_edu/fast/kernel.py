"""PLD in one CUDA kernel: one program per row reads the logits once and writes the gradient once.

Between reading and writing, everything stays in a program's registers and shared memory:

1. ranking: one sort of integers that hold (teacher's logit, class) side by side;
2. tails: each rank's log-sum-exp over the ranks behind it, kept as ``exp(m) * r``: a reverse scan;
3. gradient: stick breaking, ``V_{k+1} = (V_k + alpha_k) c_k``, is linear in V: a scan as well.

Arithmetic is float32. Only what goes into an exponential is a float64 until it lies near zero.

It needs Triton 3.3. It has run in Triton's interpreter and been compiled for A100 and H100, where
it was not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..losses.validation import as_labels, reduce_rows, rows_in_mean

try:
    import triton
    import triton.language as tl
except ImportError:  # there is none for macOS and Windows
    triton = tl = None
if tl and not hasattr(tl, "gather"):  # before 3.3
    triton = tl = None

jit: Callable[[Callable], Any] = triton.jit if triton else lambda function: function

MAX_CLASSES = 4096
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def fits(*logits: Tensor) -> bool:
    """Whether there is a Triton that is new enough, and takes such logits [..., C]."""
    known = all(z.dtype in DTYPES and z.shape[-1] <= MAX_CLASSES for z in logits)
    return triton is not None and known


def live(
    s: Tensor, t: Tensor, labels: Tensor, temperature: float, reduction: str, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """The reduced loss and its gradient, for logits that `fits`; arguments as in `losses.pld_loss`.

    A class may be masked by -inf in both s and t. Neither values nor labels are checked.
    """
    y, keep = as_labels(labels, s, ignore_index)
    t = t.detach().contiguous()
    inverse = 1.0 / min(max(temperature, 1e-30), 1e30)
    # A float64 can only be handed over as the sum of two float32.
    high = torch.tensor(inverse, dtype=torch.float32).item()
    inputs = (t, y.contiguous(), high, inverse - high)
    return _run(_from_teacher, s, inputs, keep, reduction, HALF=t.dtype != torch.float32)


def cached(s: Tensor, ranking: Tensor, alpha: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """The same from rankings (integers of 16 bits or more) and weights, both [..., C]."""
    keep = torch.ones(s.shape[:-1], dtype=torch.bool, device=s.device)
    return _run(_from_targets, s, (ranking.contiguous(), alpha.contiguous()), keep, reduction)


def _run(
    kernel: Any, s: Tensor, inputs: tuple, keep: Tensor, reduction: str, **constants: Any
) -> tuple[Tensor, Tensor]:
    rows = torch.empty(keep.shape, dtype=torch.float32, device=s.device)
    gradient = torch.empty(s.shape, dtype=torch.float32, device=s.device)
    block = max(32, triton.next_power_of_2(s.shape[-1]))
    options = {"BLOCK": block, "num_warps": max(1, block // 256)} | constants
    kernel[(rows.numel(),)](
        s.detach().contiguous(), *inputs, rows, gradient, s.shape[-1], **options
    )
    gradient /= rows_in_mean(keep, reduction)
    gradient.masked_fill_(~keep.unsqueeze(-1), 0.0)
    return reduce_rows(rows.double(), keep, reduction, s), gradient


@jit
def _from_teacher(
    student,
    teacher,
    labels,
    inverse,  # high and low part of 1 / tau
    inverse_low,
    rows,
    gradient,
    classes,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    begin = row.to(tl.int64) * classes
    k = tl.arange(0, BLOCK)
    t = tl.load(teacher + begin + k, mask=k < classes, other=-float("inf")).to(tl.float32)
    order = _ranking(t, k, tl.load(labels + row), classes, HALF)
    t_k = tl.load(teacher + begin + order, mask=k < classes, other=-float("inf")).to(tl.float32)
    s_k = tl.load(student + begin + order, mask=k < classes, other=-float("inf")).to(tl.float32)
    # alpha = softmax(t / tau), which is 0 for a masked class
    below = t_k.to(tl.float64) - tl.max(t, 0).to(tl.float64)
    worth = _exp(below * (tl.zeros((BLOCK,), tl.float64) + inverse + inverse_low))
    alpha = worth / tl.sum(worth, 0)
    _store_loss_and_gradient(rows, gradient, row, begin + order, s_k, alpha, k, classes, BLOCK)


@jit
def _from_targets(student, ranking, weights, rows, gradient, classes, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    begin = row.to(tl.int64) * classes
    k = tl.arange(0, BLOCK)
    order = tl.load(ranking + begin + k, mask=k < classes, other=0).to(tl.int32)
    alpha = tl.load(weights + begin + k, mask=k < classes, other=0.0).to(tl.float32)
    s_k = tl.load(student + begin + order, mask=k < classes, other=-float("inf")).to(tl.float32)
    _store_loss_and_gradient(rows, gradient, row, begin + order, s_k, alpha, k, classes, BLOCK)


@jit
def _ranking(t, k, label, classes, HALF: tl.constexpr):
    """Classes in rank order: the label, then falling logits, lower class first; padding last."""
    bits = tl.where(t == 0.0, 0.0, t).to(tl.int32, bitcast=True)  # -0.0 equals 0.0
    # The bits of floats, read as integers, rise with positive floats and fall with negative ones.
    key = ~(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    key = tl.where(k == label, -0x80000000, key)
    key = tl.where(k < classes, key, 0x7FFFFFFF)
    if HALF:  # 19 bits hold any float16 or bfloat16, and 12 bits a class index
        return tl.sort(((key >> 13) << 12) | k) & 0xFFF
    return (tl.sort((key.to(tl.int64) << 32) | k) & 0xFFFFFFFF).to(tl.int32)


@jit
def _store_loss_and_gradient(rows, gradient, row, place, s, alpha, k, classes, BLOCK: tl.constexpr):
    """Loss and gradient of a row in rank order; -inf with weight 0 takes no part."""
    lowest = -3.4028234663852886e38  # differences with it are finite or infinite, never NaN
    out = (s == -float("inf")) & (alpha == 0.0)
    s = tl.where(out, lowest, s)
    behind = tl.gather(s, tl.minimum(k + 1, BLOCK - 1), 0)
    behind = tl.where(k + 1 < BLOCK, behind, lowest)
    m, r = tl.associative_scan((behind, tl.full((BLOCK,), 1.0, tl.float32)), 0, _join, reverse=True)

    # Rank k loses to the ranks behind it with odds T_{k+1} / e_k = exp(m - s) r.
    gap = m.to(tl.float64) - s.to(tl.float64)
    near = tl.where(gap > 80.0, 80.0, gap)
    odds = r * _exp(near)
    p = tl.where(gap < 80.0, 1.0 / (1.0 + odds), 0.0)
    c = tl.where(gap < 80.0, odds / (1.0 + odds), 1.0)
    beyond = (gap - near).to(tl.float32)
    losses = tl.where(out, 0.0, _log1p(odds) + beyond)
    tl.store(rows + row, tl.sum(alpha * losses, 0))

    # g_k = V_k p_k - alpha_k c_k, and the scan composes the steps V -> c_k V + alpha_k c_k.
    _, v = tl.associative_scan((c, alpha * c), 0, _then)
    v = tl.where(k == 0, 0.0, tl.gather(v, tl.maximum(k - 1, 0), 0))
    tl.store(gradient + place, v * p - alpha * c, mask=k < classes)


@jit
def _join(m, r, other_m, other_r):
    """``exp(m) r`` plus another such number."""
    share = tl.exp(-tl.abs(m - other_m))  # of the smaller exp(m) in the larger
    r = tl.where(m >= other_m, r + other_r * share, r * share + other_r)
    return tl.maximum(m, other_m), r


@jit
def _then(a, b, next_a, next_b):
    """``V -> a V + b``, then another such step."""
    return a * next_a, b * next_a + next_b


@jit
def _exp(x):
    """Exponential of a float64 up to 80, as a float32 with all its digits."""
    x = tl.where(x < -200.0, -200.0, x)
    n = tl.floor(x.to(tl.float32) * 1.4426950408889634 + 0.5)
    # log 2 in two parts, the first exact in float32
    rest = x - n.to(tl.float64) * 0.693145751953125 - n.to(tl.float64) * 1.4286068203094172e-06
    return tl.exp(rest.to(tl.float32)) * _power_of_two(n)


@jit
def _power_of_two(n):
    """2^n for whole -126 <= n <= 127, and 0 below."""
    n = tl.where(n < -127.0, -127.0, n)
    return ((n.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)


@jit
def _log1p(x):
    """log(1 + x) for x >= 0; what 1 + x rounds away is put back, to first order."""
    y = 1.0 + x
    return tl.log(y) + (x - (y - 1.0)) / y
