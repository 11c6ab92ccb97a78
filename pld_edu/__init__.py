"""Plackett-Luce Distillation: learn it, teach it, check it.

`reference` holds the NumPy float64 truth, `losses` its PyTorch twin. PyTorch is imported only
when `losses` is first used.
"""

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"
__all__ = ["__version__", "losses", "reference"]


def __getattr__(name: str) -> ModuleType:
    if name in ("losses", "reference"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
