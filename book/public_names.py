"""Every public name is in the API reference: the build warns of those that are not.

Public is what a room's ``__all__`` names; in a room without one, what each of its files names or
defines without a leading underscore.
"""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import pld_edu

NOT_FOR_IMPORT = {"pld_edu.cli"}


def setup(app: Sphinx) -> dict[str, bool]:
    """Look when all pages are read."""
    app.connect("env-check-consistency", warn_of_missing)
    return {"parallel_read_safe": True}


def public_names() -> Iterator[str]:
    """``pld_edu.MODULE.NAME`` of everything that is meant to be imported."""
    for module in public_modules(pld_edu):
        if module.__name__ in NOT_FOR_IMPORT:
            continue
        by_file = hasattr(module, "__path__") and not hasattr(module, "__all__")
        for part in public_modules(module) if by_file else [module]:
            own = (
                name
                for name, value in vars(part).items()
                if not name.startswith("_")
                and (inspect.isfunction(value) or inspect.isclass(value))
                and value.__module__ == part.__name__
            )
            for name in getattr(part, "__all__", own):
                yield f"{part.__name__}.{name}"


def public_modules(package: ModuleType) -> Iterator[ModuleType]:
    """The modules of a package, without those whose names begin with an underscore."""
    for found in iter_modules(package.__path__):
        if not found.name.startswith("_"):
            yield import_module(f"{package.__name__}.{found.name}")


def warn_of_missing(app: Sphinx, environment: BuildEnvironment) -> None:
    """One warning for each public name without an entry."""
    documented = {entry[0] for entry in environment.domains["py"].get_objects()}
    for name in public_names():
        if name not in documented:
            logging.getLogger(__name__).warning("no entry in the API reference: %s", name)
