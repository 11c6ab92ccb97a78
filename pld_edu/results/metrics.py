"""What is measured of a network's logits: accuracy, calibration, agreement with its teacher."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax
from scipy.stats import rankdata

BINS = 15


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Percent of rows with the label among the k largest logits.

    Parameters
    ----------
    logits : array [N, C]
    labels : integer array [N]
    k : int

    Returns
    -------
    float
        Between equal logits the lower class index comes first, as everywhere in this package.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=-1)
    earlier = np.arange(logits.shape[-1]) < labels[:, None]
    rank = ((logits > own) | ((logits == own) & earlier)).sum(axis=-1)
    return 100.0 * float((rank < k).mean())


class Reliability(NamedTuple):
    """Per bin of confidence, 0 to 1 in equal steps: arrays [bins]; NaN where a bin is empty.

    `confidence` is the mean largest probability of its samples, `accuracy` the share of them that
    are classified rightly, `samples` how many they are.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    samples: np.ndarray

    @property
    def expected_error(self) -> float:
        """The expected calibration error: mean gap of the bins, weighted by their counts."""
        gaps = np.abs(self.accuracy - self.confidence)[self.samples > 0]
        return float((gaps * self.samples[self.samples > 0]).sum() / self.samples.sum())

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy: above 0 if the network is too sure."""
        full = self.samples > 0
        gaps = (self.confidence - self.accuracy)[full]
        return float((gaps * self.samples[full]).sum() / self.samples.sum())


def reliability(logits: ArrayLike, labels: ArrayLike, bins: int = BINS) -> Reliability:
    """Sort samples into bins by their largest probability, and see how many of each are right.

    Parameters
    ----------
    logits : array [N, C]
    labels : integer array [N]
    bins : int
        A sample on the edge between two bins belongs to the lower one.

    Returns
    -------
    Reliability

    Raises
    ------
    ValueError
        No samples, shapes that do not fit, or less than one bin.
    """
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            "logits must be [N, C] and labels [N] with N at least 1, "
            f"got {list(logits.shape)} and {list(labels.shape)}"
        )
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    confidence = softmax(logits, axis=-1).max(axis=-1)
    right = logits.argmax(axis=-1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    samples = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin
        return Reliability(
            np.bincount(place, confidence, bins) / samples,
            np.bincount(place, right, bins) / samples,
            samples,
        )


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
