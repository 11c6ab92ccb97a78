"""One experiment: train a teacher, then its students by every method, and record them."""
