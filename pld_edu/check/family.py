"""The losses that the checker knows, by name; to add one, write its file and name it here."""

from .dist import DIST
from .dkd import DKD
from .formula import Formula
from .kd import KD
from .list_mle import ListMLE
from .pld import PLD

LOSSES: dict[str, type[Formula]] = {loss.name: loss for loss in (PLD, KD, DIST, DKD, ListMLE)}
