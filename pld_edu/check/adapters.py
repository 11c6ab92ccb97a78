"""Calling a loss in its own framework: NumPy arrays in, value and gradient in NumPy out.

An adapter is made by `adapter_for`; torch and JAX are imported only when one for them is made.
"""

import dis
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from .cases import Case, Floats

FRAMEWORKS = ("torch", "jax", "numpy")
ROOTS = {"torch": "torch", "jax": "jax", "jaxlib": "jax", "numpy": "numpy", "scipy": "numpy"}

NAMING = ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME")


class Result(NamedTuple):
    """What one call gave."""

    loss: Floats
    gradient: Floats | None
    gradient_error: str | None
    dtype: str
    inputs_modified: bool


class Adapter(Protocol):
    """One framework's way to call the loss."""

    def call(self, case: Case, options: dict[str, float]) -> Result:
        """Value and student gradient."""

    def teacher_gradient(self, case: Case, options: dict[str, float]) -> float | None:
        """Largest entry of the gradient that reaches the teacher; None if it cannot be told."""


def recognise(fn: Callable[..., Any]) -> str | None:
    """Framework of `fn`, from its type and the globals its code refers to; None if neither tells.

    Parameters
    ----------
    fn : callable

    Returns
    -------
    {"torch", "jax", "numpy"} or None
    """
    found: set[str] = set()
    _visit(fn, found, set(), depth=6)
    return next((name for name in FRAMEWORKS if name in found), None)


def takes_temperature(fn: Callable[..., Any]) -> bool:
    """Whether `fn` has an argument called `temperature`, or takes any keyword."""
    target = getattr(fn, "forward", fn) if _is_torch_module(fn) else fn
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "temperature" or p.kind is p.VAR_KEYWORD for p in parameters)


def adapter_for(
    framework: str, fn: Callable[..., Any], gradient: Callable[..., Any] | None
) -> Adapter:
    """The adapter of a framework by name."""
    if framework == "torch":
        from .adapter_torch import TorchAdapter

        return TorchAdapter(fn, gradient)
    if framework == "jax":
        from .adapter_jax import JaxAdapter

        return JaxAdapter(fn, gradient)
    return NumpyAdapter(fn, gradient)


class NumpyAdapter:
    """float64 arrays; the gradient comes from a second function, or not at all."""

    def __init__(self, fn: Callable[..., Any], gradient: Callable[..., Any] | None) -> None:
        self.fn, self.gradient = fn, gradient

    def call(self, case: Case, options: dict[str, float]) -> Result:
        s, t, y = (a.copy() for a in (case.student_logits, case.teacher_logits, case.labels))
        with np.errstate(all="ignore"):
            raw = self.fn(s, t, y, **options)
            slope = None if self.gradient is None else self.gradient(s, t, y, **options)
        modified = inputs_changed(case, s, t, y)
        got = np.asarray(raw)
        dtype = "float32" if got.dtype == np.float32 else str(got.dtype)
        return Result(
            got.astype(np.float64),
            None if slope is None else np.asarray(slope, dtype=np.float64),
            None,
            dtype,
            modified,
        )

    def teacher_gradient(self, case: Case, options: dict[str, float]) -> float | None:
        return None


def inputs_changed(case: Case, s: Any, t: Any, y: Any) -> bool:
    """Whether any argument no longer holds what was put in."""
    pairs = ((case.student_logits, s), (case.teacher_logits, t), (case.labels, y))
    return not all(np.array_equal(a, np.asarray(b), equal_nan=True) for a, b in pairs)


def _is_torch_module(fn: object) -> bool:
    return any(c.__module__.split(".")[0] == "torch" for c in type(fn).__mro__) and hasattr(
        fn, "forward"
    )


def _visit(thing: object, found: set[str], seen: set[int], depth: int) -> None:
    """Collect the frameworks that `thing` and the code it calls refer to."""
    if depth == 0 or id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, ModuleType):
        _note(thing.__name__, found)
        return
    for c in type(thing).__mro__:
        _note(c.__module__, found)
    _note(getattr(thing, "__module__", None) or "", found)
    if isinstance(thing, FunctionType):
        if thing.__module__ and thing.__module__.split(".")[0] in ROOTS:
            return
        for cell in thing.__closure__ or ():
            _visit(cell.cell_contents, found, seen, depth - 1)
        for name in _names(thing.__code__):
            if name in thing.__globals__:
                used = thing.__globals__[name]
                _visit(used, found, seen, depth - 1)
                if isinstance(used, ModuleType) and used.__name__.split(".")[0] not in ROOTS:
                    for attribute in set(thing.__code__.co_names) & set(vars(used)):
                        _visit(getattr(used, attribute), found, seen, depth - 1)
            else:
                _note(name, found)
    elif isinstance(thing, type):
        for member in vars(thing).values():
            if isinstance(member, FunctionType):
                _visit(member, found, seen, depth - 1)
    elif callable(thing):
        for attribute in ("__wrapped__", "func", "__func__", "__self__"):
            if hasattr(thing, attribute):
                _visit(getattr(thing, attribute), found, seen, depth - 1)
        _visit(type(thing), found, seen, depth - 1)


def _names(code: CodeType) -> set[str]:
    """Global and imported names of a function and of the functions defined inside it.

    `co_names` alone will not do: it also holds attributes, such as the `nn` of `jax.nn`.
    """
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    own = {i.argval for i in dis.get_instructions(code) if i.opname in NAMING}
    return own.union(*(_names(c) for c in inner))


def _note(module: str, found: set[str]) -> None:
    framework = ROOTS.get(module.split(".")[0])
    if framework:
        found.add(framework)
