"""The methods that are compared, in one table: to add a method, add a row."""

from typing import NamedTuple


class Method(NamedTuple):
    """How a method is called and drawn, and which class of `pld_edu.losses` trains it.

    `loss` is the name of that class, so that this table can be read without PyTorch; cross-entropy
    has none. The colours are Okabe and Ito's; the markers say the same without colour.
    """

    title: str
    loss: str | None
    colour: str
    marker: str


METHODS = {
    "ce": Method("CE", None, "#000000", "s"),
    "kd": Method("KD", "KDLoss", "#D55E00", "o"),
    "dist": Method("DIST", "DISTLoss", "#009E73", "^"),
    "dkd": Method("DKD", "DKDLoss", "#CC79A7", "v"),
    "pld": Method("PLD", "PLDLoss", "#0072B2", "D"),
}
TITLES = {name: method.title for name, method in METHODS.items()}
COLOURS = {name: method.colour for name, method in METHODS.items()}
MARKERS = {name: method.marker for name, method in METHODS.items()}


class Setting(NamedTuple):
    """A method at a temperature; cross-entropy has none."""

    method: str
    temperature: float | None

    @property
    def name(self) -> str:
        """``ce``, ``kd-t4``, ...: as in file names."""
        return self.method if self.temperature is None else f"{self.method}-t{self.temperature:g}"

    @property
    def title(self) -> str:
        """``CE`` or ``PLD, T = 4``: as in figures."""
        title = METHODS[self.method].title
        return title if self.temperature is None else f"{title}, T = {self.temperature:g}"
