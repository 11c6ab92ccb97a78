"""Exercises for notebook 09: read a figure, say what it shows."""

from .kinds import Code, Values

EXERCISES: tuple[Values | Code, ...] = ()
FILL_INS: tuple[Values | Code, ...] = ()
