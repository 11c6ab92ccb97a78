"""Exercises for notebook 10: what a new teacher family can teach."""

from .kinds import Code, Values

EXERCISES: tuple[Values | Code, ...] = ()
FILL_INS: tuple[Values | Code, ...] = ()
