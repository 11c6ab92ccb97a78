"""The Plackett-Luce likelihood of a ranking and its gradient, differentiable in the scores."""

from numbers import Integral

import torch
from torch import Tensor
from torch.nn import functional as F

from .validation import INTEGERS, as_logits, check_finite, refuse


def choice_losses(ranked_scores: Tensor) -> Tensor:
    """Minus the log-probability of each choice but the last, whose is always 0: [..., C - 1]."""
    return softplus(log_odds_against(ranked_scores))


def log_odds_against(ranked_scores: Tensor) -> Tensor:
    """Log-odds [..., C - 1] of choosing any later rank rather than rank k: ``R_{k+1} - s_{pi_k}``.

    The tails' logsumexp R is not taken from `torch.logcumsumexp`: that loses digits once scores
    are far apart. Instead each tail is ``exp(m) * r`` with m its largest score, and tails are
    joined in pairs, then fours, then eights. Scores [..., C] are finite and in rank order.
    """
    s = ranked_scores
    # R does not depend on which m is taken out, so m needs no derivative.
    m, r = s.detach(), torch.exp(s - s.detach())
    length = 1
    while length < s.shape[-1]:
        next_m = F.pad(m[..., length:], (0, length), value=torch.finfo(s.dtype).min)
        next_r = F.pad(r[..., length:], (0, length))
        larger = torch.maximum(m, next_m)
        r = r * torch.exp(m - larger) + next_r * torch.exp(next_m - larger)
        m, length = larger, 2 * length
    return (m[..., 1:] - s[..., :-1]) + torch.log(r[..., 1:])


def stick_breaking(log_odds: Tensor, alpha: Tensor) -> Tensor:
    """Gradient of ``sum_k alpha_k [R_k - s_{pi_k}]`` in rank order (paper, App. A).

    ``g_k = V_k p_k - alpha_k c_k`` with ``V_{k+1} = (V_k + alpha_k) c_k`` and ``V_1 = 0``, from
    the log-odds [..., C - 1] against the choices and their weights [..., C]. A step maps V to
    ``c_k V + alpha_k c_k``; steps are joined in pairs, then fours, then eights.
    """
    p = F.pad(torch.sigmoid(-log_odds), (0, 1), value=1.0)
    c = F.pad(torch.sigmoid(log_odds), (0, 1))
    factor, v, length = c, alpha * c, 1
    while length < alpha.shape[-1]:
        v = v + factor * F.pad(v[..., :-length], (length, 0))
        factor = factor * F.pad(factor[..., :-length], (length, 0))
        length *= 2
    return F.pad(v[..., :-1], (1, 0)) * p - alpha * c


def softplus(log_odds: Tensor) -> Tensor:
    """``log(1 + exp(log_odds))``; beyond 40 it is the identity to the last bit of a double."""
    return F.softplus(log_odds, threshold=40.0)


def log_likelihood(scores: Tensor, ranking: Tensor, top: int | None = None) -> Tensor:
    """Log-probability of a ranking, or of its first choices (paper, Sec. 3).

    Parameters
    ----------
    scores : Tensor [..., C]
        Finite log-worths; adding a constant to a row changes nothing.
    ranking : integer Tensor [..., K]
        Items, the favourite first, without repeats. With K < C the items left out rank below the
        listed ones in no particular order.
    top : int, optional
        Count only the first `top` choices. Default: all K.

    Returns
    -------
    Tensor [...]

    Raises
    ------
    ValueError
        Wrong types or shapes, or `top` outside 1..K. Where values can be read (see
        `pld_edu.losses`): scores not finite, items repeated or outside 0..C-1.
    """
    s, order, top = _choices(scores, ranking, top)
    total = -choice_losses(s.gather(-1, order))[..., :top].sum(dim=-1)
    return total.to(torch.promote_types(scores.dtype, torch.float32))


def log_likelihood_gradient(scores: Tensor, ranking: Tensor, top: int | None = None) -> Tensor:
    """Derivative of `log_likelihood` with respect to the scores: same arguments, same errors.

    Returns
    -------
    Tensor [..., C]
        For each item: how often it was chosen minus how often it was expected to be.
    """
    s, order, top = _choices(scores, ranking, top)
    counted = (torch.arange(s.shape[-1], device=s.device) < top).to(s.dtype)
    ranked = stick_breaking(log_odds_against(s.gather(-1, order)), counted.expand(s.shape))
    gradient = torch.zeros_like(s).scatter(-1, order, -ranked)
    return gradient.to(torch.promote_types(scores.dtype, torch.float32))


def check_ranking(ranking: Tensor, items: int) -> None:
    """Refuse what is no ranking of some of the items."""
    if not isinstance(ranking, Tensor):
        raise ValueError(f"ranking must be a torch.Tensor, got {type(ranking).__name__}")
    if ranking.dtype not in INTEGERS or ranking.ndim == 0:
        raise ValueError(
            "ranking must be integers [..., K], got dtype "
            f"{ranking.dtype} and shape {tuple(ranking.shape)}"
        )
    listed = ranking.shape[-1]
    if listed > items:
        raise ValueError(f"ranking must hold at most {items} items, got {listed}")
    refuse(
        (ranking < 0) | (ranking >= items),
        lambda at: f"ranking must hold items 0..{items - 1}, got {int(ranking[at])}",
    )
    in_order = ranking.sort(dim=-1).values
    refuse(
        in_order[..., 1:] == in_order[..., :-1],
        lambda at: f"ranking must not repeat an item, got item {int(in_order[at])} twice",
    )


def _choices(scores: Tensor, ranking: Tensor, top: int | None) -> tuple[Tensor, Tensor, int]:
    """Scores, the completed ranking, and how many choices count."""
    s = as_logits("scores", scores)
    check_finite("scores", s)
    check_ranking(ranking, s.shape[-1])
    listed = ranking.shape[-1]
    top = listed if top is None else top
    if not (isinstance(top, Integral) and 1 <= top <= listed):
        raise ValueError(f"top must lie in 1..{listed}, the length of the ranking, got {top}")
    lead = torch.broadcast_shapes(s.shape[:-1], ranking.shape[:-1])
    s = s.expand(*lead, s.shape[-1])
    place = torch.arange(listed, device=s.device).expand(*lead, listed)
    rank = torch.full(s.shape, listed, device=s.device)
    rank = rank.scatter(-1, ranking.long().expand(*lead, listed), place)
    return s, rank.argsort(dim=-1, stable=True), int(top)
