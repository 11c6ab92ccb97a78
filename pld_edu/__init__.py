"""Plackett-Luce Distillation: learn it, teach it, check it.

`reference` holds the NumPy float64 truth, `losses` its PyTorch twin, `fast` a faster `pld_loss`.
PyTorch is imported only when `losses` or `fast` is first used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"
__all__ = ["__version__", "fast", "losses", "reference"]


def __getattr__(name: str) -> ModuleType:
    if name == "reference":
        return import_module(f"{__name__}.{name}")
    if name in ("fast", "losses"):
        with needs_extra("torch"):
            return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Around imports that the base installation lacks: if one fails, name the extra that has it.

    The message of the ModuleNotFoundError has the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = f'{error}; pip install "pld_edu[{extra}]" brings it'
        raise ModuleNotFoundError(message, name=error.name) from error
