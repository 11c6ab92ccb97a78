"""PLD in one CUDA kernel: one program a row reads the logits once and writes the gradient once.

Between reading and writing, everything stays in a program's registers and shared memory:

1. ranking: one sort of integers that hold (teacher's logit, class) side by side;
2. tails: each rank's log-sum-exp over the ranks behind it, kept as ``exp(m) * r``: a reverse scan;
3. gradient: stick breaking, ``V_{k+1} = (V_k + alpha_k) c_k``, is linear in V: a scan as well.

Arithmetic is float32. Only what goes into an exponential is a float64 until it lies near zero.

Importing this module without Triton works; calling its functions then raises ImportError. It needs
Triton 3.3, and was seen to compile and, interpreted, to be right with 3.3, 3.4, 3.6 and 3.9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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
WEIGHTS = ("teacher", "label", "one-hot", "uniform", "position")


def available() -> bool:
    """Is there a Triton that is new enough? With PyTorch 2.7 or later for Linux there is."""
    return triton is not None


def pld_rows_and_gradient(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    weights: str,
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of each row (paper, Sec. 4.2 and App. A).

    Parameters
    ----------
    student_logits, teacher_logits : Tensor [B, C]
        float32, float16 or bfloat16 on a CUDA device, C <= 4096. A class may be masked by -inf in
        both.
    labels : int64 Tensor [B]
        In 0..C-1, which is not checked.
    temperature : float
        Divides the teacher's logits in the weights.
    weights : {"teacher", "label", "one-hot", "uniform", "position"}
        See `pld_edu.losses.rank_weights`.

    Returns
    -------
    rows : float32 Tensor [B]
    gradient : float32 Tensor [B, C]
        Of each row's own loss.

    Raises
    ------
    ValueError
        Another dtype, more than 4,096 classes, unknown weights.
    ImportError
        There is no Triton, or an older one.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {WEIGHTS}, got {weights!r}")
    s, t = _checked("student_logits", student_logits), _checked("teacher_logits", teacher_logits)
    rows, gradient = _outputs(s)
    batch, classes = s.shape
    least = 2.0**-classes if classes > 1 else 0.0
    if batch:
        _from_teacher[(batch,)](
            s,
            t,
            labels.contiguous(),
            rows,
            gradient,
            classes,
            *_two_floats(1.0 / min(max(temperature, 1e-30), 1e30)),
            least,
            1.0 - 2.0**-classes - classes * least,
            WEIGHTS=WEIGHTS.index(weights),
            HALF=t.dtype != torch.float32,
            **_launch(classes),
        )
    return rows, gradient


def cached_rows_and_gradient(
    student_logits: Tensor, ranking: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of each row, for a teacher who was ranked and weighed before.

    Parameters
    ----------
    student_logits : Tensor [B, C]
        As in `pld_rows_and_gradient`; -inf with weight 0 is a masked class.
    ranking : integer Tensor [B, C]
        Classes in rank order; 16 bits are enough.
    alpha : floating Tensor [B, C]
        Weights in rank order.

    Returns
    -------
    rows : float32 Tensor [B]
    gradient : float32 Tensor [B, C]

    Raises
    ------
    ValueError, ImportError
        As in `pld_rows_and_gradient`.
    """
    s = _checked("student_logits", student_logits)
    rows, gradient = _outputs(s)
    batch, classes = s.shape
    if batch:
        _from_targets[(batch,)](
            s,
            ranking.contiguous(),
            alpha.contiguous(),
            rows,
            gradient,
            classes,
            **_launch(classes),
        )
    return rows, gradient


def _checked(name: str, logits: Tensor) -> Tensor:
    if not available():
        raise ImportError("the fused kernel needs Triton 3.3 or later, which is not installed here")
    if logits.dtype not in DTYPES:
        raise ValueError(f"{name} must be float32, float16 or bfloat16, got {logits.dtype}")
    if logits.ndim != 2 or not 1 <= logits.shape[1] <= MAX_CLASSES:
        raise ValueError(
            f"{name} must have shape [B, C] with 1 to {MAX_CLASSES} classes, "
            f"got shape {tuple(logits.shape)}"
        )
    return logits.detach().contiguous()


def _outputs(s: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.empty(len(s), dtype=torch.float32, device=s.device)
    return rows, torch.empty_like(s, dtype=torch.float32)


def _two_floats(x: float) -> tuple[float, float]:
    """A float64 as the sum of two float32, which is how a kernel can be given one."""
    high = torch.tensor(x, dtype=torch.float32).item()
    return high, x - high


def _launch(classes: int) -> dict[str, int]:
    """Classes of a program, and its warps: eight classes a thread."""
    block = max(32, triton.next_power_of_2(classes))
    return {"BLOCK": block, "num_warps": max(1, block // 256)}


@jit
def _from_teacher(
    student,
    teacher,
    labels,
    rows,
    gradient,
    classes,
    inverse_temperature,  # high and low part of 1 / tau
    inverse_temperature_low,
    least,  # 2^-C, and the sum of 2^-k - 2^-C
    total,
    WEIGHTS: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    begin = row.to(tl.int64) * classes
    k = tl.arange(0, BLOCK)
    t = tl.load(teacher + begin + k, mask=k < classes, other=-float("inf")).to(tl.float32)
    order = _ranking(t, k, tl.load(labels + row), classes, HALF)
    t_k = tl.load(teacher + begin + order, mask=k < classes, other=-float("inf")).to(tl.float32)
    if WEIGHTS <= 1:
        below = t_k.to(tl.float64) - tl.max(t, 0).to(tl.float64)
        inverse = tl.zeros((BLOCK,), tl.float64) + inverse_temperature + inverse_temperature_low
        worth = _exp(below * inverse)
        alpha = worth / tl.sum(worth, 0)
        if WEIGHTS == 1:
            alpha = tl.where(k == 0, alpha, 0.0)
    elif WEIGHTS == 2:
        alpha = tl.where(k == 0, 1.0, 0.0)
    elif WEIGHTS == 3:
        alpha = tl.full((BLOCK,), 1.0, tl.float32) / classes
    else:
        alpha = (_power_of_two(-1.0 - k.to(tl.float32)) - least) / total
    s_k = tl.load(student + begin + order, mask=k < classes, other=-float("inf")).to(tl.float32)
    masked = (s_k == -float("inf")) & (t_k == -float("inf"))
    loss, g = _loss_and_gradient(s_k, tl.where(masked, 0.0, alpha), k, BLOCK)
    tl.store(rows + row, loss)
    tl.store(gradient + begin + order, g, mask=k < classes)


@jit
def _from_targets(student, ranking, weights, rows, gradient, classes, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    begin = row.to(tl.int64) * classes
    k = tl.arange(0, BLOCK)
    order = tl.load(ranking + begin + k, mask=k < classes, other=0).to(tl.int32)
    alpha = tl.load(weights + begin + k, mask=k < classes, other=0.0).to(tl.float32)
    s_k = tl.load(student + begin + order, mask=k < classes, other=-float("inf")).to(tl.float32)
    loss, g = _loss_and_gradient(s_k, alpha, k, BLOCK)
    tl.store(rows + row, loss)
    tl.store(gradient + begin + order, g, mask=k < classes)


@jit
def _ranking(t, k, label, classes, HALF: tl.constexpr):
    """Classes in rank order: the label, then falling logits, lower class first; padding last."""
    bits = tl.where(t == 0.0, 0.0, t).to(tl.int32, bitcast=True)  # -0.0 equals 0.0
    # The bits of floats, read as integers, rise with positive floats and fall with negative ones.
    key = ~(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    key = tl.where(k == label, -0x80000000, key)
    key = tl.where(k < classes, key, 0x7FFFFFFF)
    if HALF:  # 19 bits hold any float16 or bfloat16, and 12 a class
        return tl.sort(((key >> 13) << 12) | k) & 0xFFF
    return (tl.sort((key.to(tl.int64) << 32) | k) & 0xFFFFFFFF).to(tl.int32)


@jit
def _loss_and_gradient(s, alpha, k, BLOCK: tl.constexpr):
    """Loss of a row and its gradient in rank order; -inf with weight 0 takes no part."""
    lowest = -3.4028234663852886e38  # differences with it are finite or infinite, never NaN
    out = (s == -float("inf")) & (alpha == 0.0)
    s = tl.where(out, lowest, s)
    behind = tl.gather(s, tl.minimum(k + 1, BLOCK - 1), 0)
    behind = tl.where(k + 1 < BLOCK, behind, lowest)
    m, r = tl.associative_scan((behind, tl.full((BLOCK,), 1.0, tl.float32)), 0, _join, reverse=True)

    # Rank k loses to the ranks behind it with odds exp(m - s) r.
    gap = m.to(tl.float64) - s.to(tl.float64)
    near = tl.where(gap > 80.0, 80.0, gap)
    odds = r * _exp(near)
    p = tl.where(gap < 80.0, 1.0 / (1.0 + odds), 0.0)
    c = odds / (1.0 + odds)
    c = tl.where(gap < 80.0, c, 1.0)
    beyond = (gap - near).to(tl.float32)
    losses = tl.where(out, 0.0, _log1p(odds) + beyond)

    _, v = tl.associative_scan((c, alpha * c), 0, _then)
    v = tl.where(k == 0, 0.0, tl.gather(v, tl.maximum(k - 1, 0), 0))
    return tl.sum(alpha * losses, 0), v * p - alpha * c


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
