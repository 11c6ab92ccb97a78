"""Exercises for notebook 00: the bill of one photo."""

from .kinds import Code, Values

EXERCISES: tuple[Values | Code, ...] = ()
FILL_INS: tuple[Values | Code, ...] = ()
