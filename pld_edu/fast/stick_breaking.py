"""Row losses and gradients of PLD along a ranking, without autograd.

With scores in rank order, e_k = exp(s_k - max s) and tails T_k = sum_{l >= k} e_l, choice k has
``p_k = e_k / T_k`` and ``c_k = 1 - p_k = T_{k+1} / T_k``, costs ``alpha_k log(1 + T_{k+1} / e_k)``
and breaks its part off a stick: ``g_k = V_k p_k - alpha_k c_k``, ``V_{k+1} = (V_k + alpha_k) c_k``.
No small number is ever the difference of two large ones, so tiny gradients keep their digits.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .weights import widest

# Scores so far apart have an exp, and quotients and sums of it, well inside a float64 (e^±709);
# for the second number the quotients are inside a float32 too (e^±88).
WIDEST_SPAN = 600.0
WIDEST_FLOAT32_SPAN = 64.0


def losses_and_gradient(
    scores: Tensor, alpha: Tensor, span: float, masked: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Losses and gradients of rows.

    Parameters
    ----------
    scores : Tensor [N, C]
        In rank order.
    alpha : Tensor [N, C]
        Weights in rank order; 0 at masked ranks.
    span : float
        No two scores of a row lie farther apart; may be infinite.
    masked : bool Tensor [N, C], optional
        Ranks that take part in no choice; their scores are -inf.

    Returns
    -------
    losses : Tensor [N]
    gradient : Tensor [N, C]
        In rank order. Both in float64 where the device has it.
    """
    top = scores.amax(dim=-1, keepdim=True)
    if not span <= WIDEST_FLOAT32_SPAN:
        low = scores if masked is None else scores.masked_fill(masked, torch.inf)
        span = (top - low.amin(dim=-1, keepdim=True)).amax().item()
    small = span <= WIDEST_FLOAT32_SPAN and scores.dtype == torch.float32
    dtype = widest(scores)
    scores, alpha = scores.to(dtype), alpha.to(dtype)
    if span <= WIDEST_SPAN and dtype == torch.float64:
        return by_sums(scores - top, alpha, masked, torch.float32 if small else torch.float64)
    if masked is not None:
        scores = scores.masked_fill(masked, torch.finfo(scores.dtype).min / 4)
    return by_scans(scores, alpha)


def by_sums(
    below: Tensor, alpha: Tensor, masked: Tensor | None, log_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Two cumulative sums, of positive terms: ``V_k = T_k sum_{j < k} alpha_j / T_j``."""
    rows, classes = below.shape
    e = below.exp_()
    tails = e.new_zeros(rows, classes + 1)
    torch.cumsum(e.flip(-1), dim=-1, out=tails[:, 1:])
    tails = tails.flip(-1)
    tail, later = tails[:, :-1], tails[:, 1:]
    odds = later / e
    shares = alpha / tail
    if masked is not None:
        odds.masked_fill_(masked, 0.0)
        shares.masked_fill_(masked, 0.0)
    losses = odds.to(log_dtype).log1p_().mul(alpha).sum(dim=-1)
    earlier = tails.new_zeros(rows, classes + 1)
    torch.cumsum(shares, dim=-1, out=earlier[:, 1:])
    gradient = e.mul_(earlier[:, :-1]).sub_(shares.mul_(later))
    return losses, gradient


def by_scans(s: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of any span: nothing overflows, and every factor lies in [0, 1].

    Each tail is ``exp(m) r`` with m its largest score; tails are joined in pairs, then fours, then
    eights. The steps from V_k to V_{k+1} are composed in the same way.
    """
    classes = s.shape[-1]
    m, r = s, torch.ones_like(s)
    length = 1
    while length < classes:
        next_m = F.pad(m[:, length:], (0, length), value=torch.finfo(s.dtype).min)
        next_r = F.pad(r[:, length:], (0, length))
        larger = torch.maximum(m, next_m)
        r = r * torch.exp(m - larger) + next_r * torch.exp(next_m - larger)
        m, length = larger, 2 * length
    odds = (m[:, 1:] - s[:, :-1]) + torch.log(r[:, 1:])
    losses = (F.softplus(odds, threshold=40.0) * alpha[:, :-1]).sum(dim=-1)
    c = F.pad(torch.sigmoid(odds), (0, 1))
    p = F.pad(torch.sigmoid(-odds), (0, 1), value=1.0)
    kept, stick = c, alpha * c
    length = 1
    while length < classes:
        stick = stick + kept * F.pad(stick[:, :-length], (length, 0))
        kept = kept * F.pad(kept[:, :-length], (length, 0))
        length *= 2
    return losses, F.pad(stick[:, :-1], (1, 0)) * p - alpha * c
