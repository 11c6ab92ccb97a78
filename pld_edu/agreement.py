"""How far a student agrees with its teacher, sample by sample: probabilities, order, first choices.

The paper's Table 12 asks this of trained students.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax
from scipy.stats import rankdata


def kl_divergence(logits: ArrayLike, other_logits: ArrayLike) -> np.ndarray:
    """KL(softmax(logits) || softmax(other_logits)), in nats; 0 where the probabilities agree.

    Parameters
    ----------
    logits, other_logits : array [N, C]
        With the teacher's first it is what KD minimises at temperature 1.

    Returns
    -------
    array [N]

    Raises
    ------
    ValueError
        Two shapes, or one that is not [N, C].
    """
    ours, others = _pair(logits, other_logits)
    log_p, log_q = log_softmax(ours, axis=-1), log_softmax(others, axis=-1)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def rank_correlation(logits: ArrayLike, other_logits: ArrayLike) -> np.ndarray:
    """Spearman's rank correlation over the classes: 1 where the order is the same, -1 if reversed.

    Parameters
    ----------
    logits, other_logits : array [N, C]
        Equal logits share the mean of their ranks.

    Returns
    -------
    array [N]
        NaN where all logits of a row are equal: they have no order.

    Raises
    ------
    ValueError
        Two shapes, or one that is not [N, C].
    """
    a, b = (rankdata(each, axis=-1) for each in _pair(logits, other_logits))
    a, b = (each - each.mean(axis=-1, keepdims=True) for each in (a, b))
    size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.divide((a * b).sum(axis=-1), size, out=np.full(len(a), np.nan), where=size > 0)


def top_k_overlap(logits: ArrayLike, other_logits: ArrayLike, k: int) -> np.ndarray:
    """Share of the k first choices, in whatever order, that both have.

    Parameters
    ----------
    logits, other_logits : array [N, C]
        Between equal logits the lower class index comes first, as everywhere in this package.
    k : int
        1..C.

    Returns
    -------
    array [N]

    Raises
    ------
    ValueError
        Two shapes, one that is not [N, C], or a k outside 1..C.
    """
    pair = _pair(logits, other_logits)
    if not 1 <= k <= pair[0].shape[-1]:
        raise ValueError(f"k must lie in 1..{pair[0].shape[-1]}, the classes, got {k}")
    first, second = (np.argsort(-each, axis=-1, kind="stable")[:, :k] for each in pair)
    return (first[:, :, None] == second[:, None, :]).sum(axis=(-2, -1)) / k


def _pair(logits: ArrayLike, other_logits: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    ours, others = (np.asarray(each, dtype=np.float64) for each in (logits, other_logits))
    if ours.ndim != 2 or ours.shape != others.shape:
        raise ValueError(
            "both networks' logits must have one shape [N, C], "
            f"got {list(ours.shape)} and {list(others.shape)}"
        )
    return ours, others
