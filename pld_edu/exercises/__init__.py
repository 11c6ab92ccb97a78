"""Checks for the exercises of the course: which mistake was made, not only that there is one.

In a notebook: ``from pld_edu.exercises import check``, then
``check("01.2 chain of choices", my_function)``. The mechanism is in `registry`, `kinds`, `parts`
and `calling`; a file named after a notebook holds its exercises.
"""

from .calling import NotYet
from .registry import NOTEBOOKS, check, exercises

__all__ = ["NOTEBOOKS", "NotYet", "check", "exercises"]
