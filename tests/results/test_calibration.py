import numpy as np
import pytest
from scipy.special import softmax

from pld_edu.results.metrics import reliability


def sure_to(probability):
    """Logits of two classes whose first has this probability."""
    return [np.log(probability), np.log(1 - probability)]


def test_bins_confidence_accuracy_and_error_by_hand():
    logits = np.array([sure_to(p) for p in (0.55, 0.65, 0.9, 0.95)])
    found = reliability(logits, np.array([0, 1, 0, 0]), bins=5)
    np.testing.assert_array_equal(found.samples, [0, 0, 1, 1, 2])
    np.testing.assert_allclose(found.confidence, [np.nan, np.nan, 0.55, 0.65, 0.925])
    np.testing.assert_allclose(found.accuracy, [np.nan, np.nan, 1, 0, 1])
    assert found.expected_error == pytest.approx((0.45 + 0.65 + 2 * 0.075) / 4)
    assert found.overconfidence == pytest.approx((-0.45 + 0.65 - 2 * 0.075) / 4)


def test_against_a_loop_over_samples():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(0, 2, size=(500, 7)), generator.integers(7, size=500)
    found = reliability(logits, labels)
    probabilities = softmax(logits, axis=-1)
    error = 0.0
    for low in np.arange(15) / 15:
        inside = [
            (p.max(), p.argmax() == y)
            for p, y in zip(probabilities, labels, strict=True)
            if low < p.max() <= low + 1 / 15
        ]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            error += len(inside) / 500 * abs(confidence - right)
    assert found.expected_error == pytest.approx(error)
    assert found.samples.sum() == 500


def test_a_network_that_knows_how_little_it_knows_has_no_error():
    # Of the answers that it is 75% sure of, three of four are right.
    logits = np.array([sure_to(0.75)] * 4)
    found = reliability(logits, np.array([0, 0, 0, 1]))
    assert found.expected_error == pytest.approx(0, abs=1e-12)
    assert found.overconfidence == pytest.approx(0, abs=1e-12)


def test_absolute_certainty_falls_into_the_last_bin():
    found = reliability([[1000.0, 0.0]], [1])
    assert found.samples[-1] == 1
    assert found.expected_error == found.overconfidence == 1


def test_a_sample_on_an_edge_belongs_to_the_bin_below():
    found = reliability([[0.0, 0.0]], [0], bins=2)
    np.testing.assert_array_equal(found.samples, [1, 0])


@pytest.mark.parametrize(
    ("logits", "labels"), [(np.zeros((0, 3)), []), (np.zeros((2, 3)), [1]), (np.zeros(3), [0])]
)
def test_shapes_that_do_not_fit(logits, labels):
    with pytest.raises(ValueError, match=r"logits must be \[N, C\] and labels \[N\]"):
        reliability(logits, labels)


def test_no_bins():
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        reliability([[0.0, 1.0]], [0], bins=0)
