"""Do probabilities mean what they say? Confidence against accuracy (Guo et al. 2017)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

BINS = 15


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
