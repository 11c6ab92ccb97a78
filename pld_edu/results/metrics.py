"""What is measured of a network's logits: accuracy, calibration, agreement with its teacher.

`logits` and `other_logits` are arrays [N, C], `labels` integers [N], and k is in 1..C; anything
else is a ValueError. Between equal logits the lower class index comes first.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax
from scipy.stats import rankdata


def top_k_accuracy(logits: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Percent of rows with the label among the k largest logits."""
    logits, labels = _matched(logits, labels, labels=True)
    return 100.0 * float((_first(logits, k) == labels[:, None]).any(axis=-1).mean())


class Reliability(NamedTuple):
    """Per bin of confidence, 0 to 1 in equal steps: arrays [bins]; NaN where a bin is empty.

    `confidence` is the mean largest probability of its samples, `accuracy` the share of them that
    are classified correctly, `samples` their number. `expected_error` is the expected calibration
    error, `overconfidence` the mean confidence minus accuracy: above 0 if the network is too sure.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    samples: np.ndarray
    expected_error: float
    overconfidence: float


def reliability(logits: ArrayLike, labels: ArrayLike, bins: int = 15) -> Reliability:
    """Sort samples into bins by their largest probability, and see how many of each are right.

    A sample on the edge between two of the `bins` belongs to the lower one.
    """
    logits, labels = _matched(logits, labels, labels=True)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    confidence = softmax(logits, axis=-1).max(axis=-1)
    right = logits.argmax(axis=-1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    samples = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin
        confidence = np.bincount(place, confidence, bins) / samples
        accuracy = np.bincount(place, right, bins) / samples
    # sum_b n_b / N |confidence_b - accuracy_b|, and the same without | |
    gaps = (confidence - accuracy) * samples / len(labels)
    error, overconfidence = (float(np.nansum(each)) for each in (np.abs(gaps), gaps))
    return Reliability(confidence, accuracy, samples, error, overconfidence)


def kl_divergence(logits: ArrayLike, other_logits: ArrayLike) -> np.ndarray:
    """KL(p || q) = sum_c p_c (log p_c - log q_c) in nats, of the two softmax p and q: array [N].

    With the teacher's logits first it is what KD minimises at temperature 1.
    """
    log_p, log_q = (log_softmax(z, axis=-1) for z in _matched(logits, other_logits))
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def rank_correlation(logits: ArrayLike, other_logits: ArrayLike) -> np.ndarray:
    """Spearman's rank correlation over the classes, array [N]: 1 for the same order, -1 reversed.

    Equal logits share the mean of their ranks. NaN where all logits of a row are equal.
    """
    a, b = (rankdata(each, axis=-1) for each in _matched(logits, other_logits))
    a, b = (each - each.mean(axis=-1, keepdims=True) for each in (a, b))
    # a . b / (|a| |b|)
    size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.divide((a * b).sum(axis=-1), size, out=np.full(len(a), np.nan), where=size > 0)


def top_k_overlap(logits: ArrayLike, other_logits: ArrayLike, k: int) -> np.ndarray:
    """Share of the k first choices, in whatever order, that both have: array [N]."""
    first, second = (_first(each, k) for each in _matched(logits, other_logits))
    return (first[:, :, None] == second[:, None, :]).sum(axis=(-2, -1)) / k


def _first(logits: np.ndarray, k: int) -> np.ndarray:
    """The classes [N, k] of the k largest logits."""
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k must lie in 1..{logits.shape[-1]}, the classes, got {k}")
    return np.argsort(-logits, axis=-1, kind="stable")[:, :k]


def _matched(logits: ArrayLike, other: ArrayLike, labels: bool = False) -> list[np.ndarray]:
    """Logits [N, C] and, of one length, other logits [N, C] in float64 or `labels` [N]."""
    logits, other = np.asarray(logits, dtype=np.float64), np.asarray(other)
    wanted = logits.shape[:1] if labels else logits.shape
    if logits.ndim != 2 or other.shape != wanted or not len(logits):
        name = "labels [N]" if labels else "other_logits [N, C]"
        raise ValueError(
            f"logits must be [N, C] and {name} with N at least 1, "
            f"got {list(logits.shape)} and {list(other.shape)}"
        )
    return [logits, other if labels else other.astype(np.float64)]
