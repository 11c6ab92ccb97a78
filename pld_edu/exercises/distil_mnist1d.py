"""Exercises for notebook 08: read, explain and design an experiment."""

from .kinds import Code, Values

EXERCISES: tuple[Values | Code, ...] = ()
FILL_INS: tuple[Values | Code, ...] = ()
