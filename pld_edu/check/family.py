"""The losses that the checker knows, by name; to add one, write its file and name it here."""

from .formula import Formula
from .pld import PLD

LOSSES: dict[str, type[Formula]] = {loss.name: loss for loss in (PLD,)}
