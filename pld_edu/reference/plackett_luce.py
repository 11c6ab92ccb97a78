"""The Plackett-Luce model: a ranking is a chain of choices, each a softmax over what is left.

    P(pi | s) = prod_k exp(s_{pi_k}) / sum_{l >= k} exp(s_{pi_l})

Everything follows from one number per choice, the log-odds of choosing a later rank instead (see
`log_odds_against`): the choice's loss is ``softplus`` of it, the probabilities are ``sigmoid``.
"""

from collections.abc import Sequence
from itertools import permutations
from math import exp
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from .validation import Floats, Ints, as_logits, check_values


def log_odds_against(ranked_scores: Floats) -> Floats:
    """Log-odds of choosing any later rank rather than rank k: ``R_{k+1} - s_{pi_k}``.

    The tail is carried as ``exp(m) * r`` with m its largest score, so that ``m - s`` is an exact
    difference: the literal ``R_k - s_k`` loses its digits once scores are far apart.

    Parameters
    ----------
    ranked_scores : array [..., C]
        Scores in rank order; -inf for a masked class.

    Returns
    -------
    array [..., C]
        Minus infinity at the last rank, where nothing is left to lose to; infinity at masked ones.
    """
    s = np.asarray(ranked_scores, dtype=np.float64)
    log_odds = np.full(s.shape, -np.inf)
    m = np.full(s.shape[:-1], np.finfo(np.float64).min)
    r = np.zeros(s.shape[:-1])
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        for k in reversed(range(s.shape[-1])):
            s_k = s[..., k]
            log_odds[..., k] = np.where(np.isneginf(s_k), np.inf, (m - s_k) + np.log(r))
            larger = np.maximum(m, s_k)
            r = r * np.exp(m - larger) + np.exp(s_k - larger)
            m = larger
    return log_odds


def stick_breaking(log_odds: Floats, alpha: Floats) -> Floats:
    """Gradient of ``sum_k alpha_k [R_k - s_{pi_k}]`` in rank order (paper, App. A).

    V carries how hard the earlier choices push the rest of the ranking down. Each choice passes
    the share c_k of it on and keeps the share p_k, so every factor lies in [0, 1].

    Parameters
    ----------
    log_odds, alpha : array [..., C]
        `log_odds_against` the choices, and their weights.

    Returns
    -------
    array [..., C]
        Derivative with respect to the score at each rank.
    """
    p, c = expit(-log_odds), expit(log_odds)
    gradient = np.empty_like(log_odds)
    v = np.zeros(log_odds.shape[:-1])
    for k in range(log_odds.shape[-1]):
        gradient[..., k] = v * p[..., k] - alpha[..., k] * c[..., k]
        v = (v + alpha[..., k]) * c[..., k]
    return gradient


def log_likelihood(scores: ArrayLike, ranking: ArrayLike, top: int | None = None) -> float | Floats:
    """Log-probability of a ranking, or of its first choices (paper, Sec. 3).

    Parameters
    ----------
    scores : array [..., C]
        Finite log-worths; adding a constant to a row changes nothing.
    ranking : int array [..., K]
        Items, the favourite first, without repeats. With K < C the items left out rank below the
        listed ones in no particular order.
    top : int, optional
        Count only the first `top` choices. Default: all K.

    Returns
    -------
    float or array [...]

    Raises
    ------
    ValueError
        Scores not finite; items repeated, not integers or outside 0..C-1; `top` outside 1..K.
    """
    _, _, counted, log_odds = _choices(scores, ranking, top)
    total = -(counted * np.logaddexp(0.0, log_odds)).sum(axis=-1)
    return total if total.ndim else float(total)


def log_likelihood_gradient(
    scores: ArrayLike, ranking: ArrayLike, top: int | None = None
) -> Floats:
    """Derivative of `log_likelihood` with respect to the scores: same arguments, same errors.

    Returns
    -------
    array [..., C]
        For each item: how often it was chosen minus how often it was expected to be.
    """
    s, order, counted, log_odds = _choices(scores, ranking, top)
    gradient = np.empty_like(s)
    np.put_along_axis(gradient, order, -stick_breaking(log_odds, counted), axis=-1)
    return gradient


def ranking_probabilities(scores: ArrayLike) -> dict[tuple[int, ...], float]:
    """Probability of each of the C! rankings, for up to 8 items.

    Parameters
    ----------
    scores : array [C]
        Finite log-worths.

    Returns
    -------
    dict
        ``{ranking: probability}`` in lexicographic order of the rankings; the values sum to 1.

    Raises
    ------
    ValueError
        More than 8 items (8! = 40,320 rankings), more than one row, or scores not finite.
    """
    s = _one_row_of_scores(scores)
    if s.size > 8:
        raise ValueError(
            f"all rankings can be listed for up to 8 items, got {s.size}; draw from them with "
            "sample_rankings instead"
        )
    rankings = list(permutations(range(s.size)))
    logs = np.atleast_1d(log_likelihood(s, np.array(rankings)))
    return {ranking: exp(log) for ranking, log in zip(rankings, logs, strict=True)}


def sample_rankings(scores: ArrayLike, n: int, rng: np.random.Generator) -> Ints:
    """Draw rankings by sorting scores plus Gumbel noise, which is the same as choosing in turn.

    Parameters
    ----------
    scores : array [C]
        Finite log-worths.
    n : int
        Number of rankings.
    rng : numpy.random.Generator
        For example ``np.random.default_rng(0)``.

    Returns
    -------
    int array [n, C]

    Raises
    ------
    ValueError
        `rng` is not a Generator, or scores are not one row of finite numbers.
    """
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            f"rng must be a numpy Generator, got {type(rng).__name__}; "
            "write np.random.default_rng(seed)"
        )
    s = _one_row_of_scores(scores)
    return np.argsort(-(s + rng.gumbel(size=(n, s.size))), axis=-1)


def fit_scores(rankings: Sequence[Sequence[Any]]) -> dict[Any, float]:
    """Maximum-likelihood scores of items from rankings of some or all of them.

    Parameters
    ----------
    rankings : sequence of sequences
        Each lists items (numbers, names), the favourite first, without repeats. Lengths may
        differ: a ranking says nothing about the items it leaves out.

    Returns
    -------
    dict
        ``{item: score}`` in sorted order of the items, with mean score 0.

    Raises
    ------
    ValueError
        A repeated item; no ranking of two items; or scores that are not determined, because some
        items are never ranked above, or never below, the rest (Ford 1957; Hunter 2004,
        assumption 1). The message names them.
    RuntimeError
        The optimiser stopped before the gradient vanished.
    """
    rankings = [list(ranking) for ranking in rankings]
    items: list[Any] = sorted({item for ranking in rankings for item in ranking})
    number = {item: i for i, item in enumerate(items)}
    by_length: dict[int, list[list[int]]] = {}
    for ranking in rankings:
        if len(set(ranking)) < len(ranking):
            raise ValueError(f"a ranking must not repeat an item, got {ranking}")
        by_length.setdefault(len(ranking), []).append([number[item] for item in ranking])
    tables = [np.array(table) for length, table in by_length.items() if length > 1]
    if not tables:
        raise ValueError("at least one ranking of two or more items is needed, got none")
    _check_identified(items, tables)

    def negative_log_likelihood(s: Floats) -> tuple[float, Floats]:
        value, gradient = 0.0, np.zeros_like(s)
        for table in tables:
            order = np.arange(table.shape[-1])
            value -= np.sum(log_likelihood(s[table], order))
            np.subtract.at(gradient, table, log_likelihood_gradient(s[table], order))
        return value, gradient

    found = minimize(
        negative_log_likelihood,
        np.zeros(len(items)),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-7, "maxiter": 10_000},
    )
    # On large data the sum of logs runs out of digits before gtol is met: no failure yet.
    if np.abs(found.jac).max() > 1e-7 * sum(table.size for table in tables):
        raise RuntimeError(f"the fit did not converge: {found.message}")
    s = found.x - found.x.mean()
    return {item: float(score) for item, score in zip(items, s, strict=True)}


def as_ranking(ranking: ArrayLike, items: int) -> Ints:
    """An integer array [..., K] of different items out of 0..items-1."""
    pi = np.asarray(ranking)
    if pi.dtype.kind not in "iu" or pi.ndim == 0:
        raise ValueError(
            f"ranking must be integers [..., K], got dtype {pi.dtype} and shape {pi.shape}"
        )
    if pi.shape[-1] > items:
        raise ValueError(f"ranking must hold at most {items} items, got {pi.shape[-1]}")
    outside = pi[(pi < 0) | (pi >= items)]
    if outside.size:
        raise ValueError(f"ranking must hold items 0..{items - 1}, got {outside.flat[0]}")
    in_order = np.sort(pi, axis=-1)
    repeated = in_order[..., 1:][in_order[..., 1:] == in_order[..., :-1]]
    if repeated.size:
        raise ValueError(f"ranking must not repeat an item, got item {repeated.flat[0]} twice")
    return pi.astype(np.int64)


def _choices(
    scores: ArrayLike, ranking: ArrayLike, top: int | None
) -> tuple[Floats, Ints, Floats, Floats]:
    """Scores, the completed ranking, which choices count (1 or 0), and their log-odds."""
    s = as_logits("scores", scores)
    check_values("scores", s, minus_infinity=False)
    items = s.shape[-1]
    pi = as_ranking(ranking, items)
    listed = pi.shape[-1]
    top = listed if top is None else top
    if not (isinstance(top, int | np.integer) and 1 <= top <= listed):
        raise ValueError(f"top must lie in 1..{listed}, the length of the ranking, got {top}")

    lead = np.broadcast_shapes(s.shape[:-1], pi.shape[:-1])
    s = np.broadcast_to(s, (*lead, items))
    rank = np.full((*lead, items), listed)
    np.put_along_axis(rank, np.broadcast_to(pi, (*lead, listed)), np.arange(listed), axis=-1)
    order = np.argsort(rank, axis=-1, kind="stable")
    counted = np.broadcast_to((np.arange(items) < top).astype(np.float64), s.shape)
    return s, order, counted, log_odds_against(np.take_along_axis(s, order, axis=-1))


def _one_row_of_scores(scores: ArrayLike) -> Floats:
    s = as_logits("scores", scores)
    if s.ndim != 1:
        raise ValueError(f"scores must be one row [C], got shape {s.shape}")
    check_values("scores", s, minus_infinity=False)
    return s


def _check_identified(items: list[Any], tables: list[Ints]) -> None:
    """Scores are finite and unique exactly if chains of "beat" lead from each item to each other.

    Neighbours in a ranking suffice as links: the others follow along the chain.
    """
    above = np.concatenate([table[:, :-1].ravel() for table in tables])
    below = np.concatenate([table[:, 1:].ravel() for table in tables])
    beats = coo_array((np.ones(above.size), (above, below)), shape=(len(items), len(items)))
    groups, group = connected_components(beats, connection="strong")
    if groups == 1:
        return
    core = np.argmax(np.bincount(group))
    stray = [item for item, g in zip(items, group, strict=True) if g != core]
    raise ValueError(
        f"no finite scores fit these rankings best: no chain of results leads both from and back "
        f"to {len(stray)} of the {len(items)} items, {', '.join(map(str, stray))}. They were never "
        "ranked above, or never below, the others; leave them out or add rankings that link them"
    )
