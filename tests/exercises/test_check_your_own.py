"""Exercises 11: wrong guesses are answered with numbers, and each of the eight losses is seen."""

from tests.support.exercises import accept, refuse


def test_a_wrong_name_is_answered_with_numbers() -> None:
    names = {"A": "prefix-sums", "B": "order-by-student", "C": "weights-not-permuted"}
    message = refuse("11.2", names, mistake="B-is-not-order-by-student")
    assert "loss B prints" in " ".join(message.split())
    assert "Choose from 'tail-ascending'" in refuse("11.2", names | {"B": "full-softmax"})
    assert "B is not answered yet." in refuse("11.2", names | {"B": ...})


def test_a_case_that_misses_a_loss_is_told_which() -> None:
    s, t = [[1.0, 0.0, 14.0], [2.0, 0.5, 1.0]], [[0.0, 1.0, -1.0], [0.5, 2.0, -1.0]]
    accept("11.4", s, t, [0, 2], 2.0)
    at_one = refuse("11.4", s, t, [0, 2], 1.0, mistake="blind-to-temperature-squared")
    assert "Take another temperature." in at_one
    in_order = ([[1.0, 0.0, 14.0]] * 2, [[0.0, 2.0, 1.0]] * 2, [0, 0], 2.0)
    refuse("11.4", *in_order, mistake="blind-to-weights-not-permuted")
