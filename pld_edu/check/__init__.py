"""Is my PLD right, and if not, what is wrong with it?

`check_loss` runs a loss of any framework on published and on random cases and names the mistake,
or the pair of mistakes, that gives its numbers. `VECTORS` is the path of the published cases, for
programs in any language; `cases` holds them for tests in Python.
"""

from .cases import VECTORS, Case, cases
from .checker import check_loss
from .report import Cause, Report

__all__ = ["VECTORS", "Case", "Cause", "Report", "cases", "check_loss"]
