"""The six photos of notebook 00: from the shipped slice, as the recorded teacher sees them."""

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.support.make_six_photos import FILE, six_photos


def test_six_photos_are_those_of_the_slice_and_the_teacher():
    expected = six_photos()
    with np.load(FILE) as file:
        assert set(file.files) == set(expected)
        for name in ("images", "labels", "classes"):
            np.testing.assert_array_equal(file[name], expected[name])
        np.testing.assert_allclose(file["logits"], expected["logits"], rtol=1e-4, atol=1e-4)
