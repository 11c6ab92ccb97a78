"""How far a result may be from the exact one, by the dtype of the inputs: the only such table.

`loss` is relative, `gradient` is max|dg| / max|g| of a row. The losses compute in float64 inside
and return at least float32; a gradient has the dtype of its logits, whose rounding it shows.
"""

from typing import NamedTuple


class Tolerance(NamedTuple):
    loss: float
    gradient: float


BY_DTYPE = {
    "float64": Tolerance(loss=1e-12, gradient=1e-12),
    "float32": Tolerance(loss=1e-6, gradient=1e-5),
    "float16": Tolerance(loss=1e-6, gradient=2.0**-11),
    "bfloat16": Tolerance(loss=1e-6, gradient=2.0**-8),
}
FLOAT64 = BY_DTYPE["float64"].loss
# Central differences with step 1e-5 leave about step^2 + 1e-16 / step.
DIFFERENCES = 1e-9
# Values printed in papers and cards carry their own number of digits.
