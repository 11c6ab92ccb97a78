"""Plackett-Luce Distillation: learn it, teach it, check it.

`reference` holds the NumPy float64 truth, `losses` its PyTorch twin, `fast` the same loss at the
machine's speed. PyTorch is imported only when `losses` or `fast` is first used.
"""

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"
__all__ = ["__version__", "fast", "losses", "reference"]


def __getattr__(name: str) -> ModuleType:
    if name in ("fast", "losses", "reference"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
