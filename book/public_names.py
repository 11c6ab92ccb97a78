"""Every public name is in the API reference: the build warns of those that are not.

Public is what a module's ``__all__`` names, or else what it defines without a leading underscore.
"""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import pld_edu

NOT_FOR_IMPORT = {"cli"}


def setup(app: Sphinx) -> dict[str, bool]:
    """Look when all pages are read."""
    app.connect("env-check-consistency", warn_of_missing)
    return {"parallel_read_safe": True}


def public_names() -> Iterator[str]:
    """``pld_edu.MODULE.NAME`` of everything that is meant to be imported."""
    for module in sorted(found.name for found in iter_modules(pld_edu.__path__)):
        if module in NOT_FOR_IMPORT or module.startswith("_"):
            continue
        namespace = import_module(f"pld_edu.{module}")
        own = (
            name
            for name, value in vars(namespace).items()
            if not name.startswith("_")
            and (inspect.isfunction(value) or inspect.isclass(value))
            and value.__module__ == namespace.__name__
        )
        for name in getattr(namespace, "__all__", own):
            yield f"pld_edu.{module}.{name}"


def warn_of_missing(app: Sphinx, environment: BuildEnvironment) -> None:
    """One warning for each public name without an entry."""
    documented = {entry[0] for entry in environment.domains["py"].get_objects()}
    for name in public_names():
        if name not in documented:
            logging.getLogger(__name__).warning("no entry in the API reference: %s", name)
