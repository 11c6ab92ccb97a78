"""Calling a loss in its own framework: NumPy arrays in, value and gradient in NumPy out.

PyTorch and JAX are imported only when an adapter for them is made.
"""

import inspect
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from .cases import Case, Floats, cases

Function = Callable[..., Any]
Inputs = tuple[Any, Any, Any]
Options = dict[str, float]
Outputs = tuple[Any, Any | None, str | None]

TEACHER_CASE = "batch-of-two"  # Where it is looked at if a gradient reaches the teacher.
TRIAL_CASES = ("base", "batch-of-two")  # Two, since some losses fail for a single row.


@dataclass(frozen=True)
class Result:
    """What a loss did on one case.

    `state` is "ok", "raises", "hangs", "crashes" or "skipped", and `message` says more; `returned`
    is the package that the value's type comes from, such as "torch".
    """

    case: Case
    state: str = "ok"
    message: str = ""
    loss: Floats | None = None
    gradient: Floats | None = None
    gradient_error: str | None = None
    inputs_modified: bool = False
    teacher_gradient: float | None = None
    returned: str = ""


class _OutOfTime(BaseException):
    """Not an Exception, so that a loss that catches those does not swallow it."""


class Adapter:
    """Calls a NumPy loss on float64 arrays, each call within `timeout` seconds.

    Its subclasses call those of other frameworks. A function `gradient` replaces automatic
    differentiation, which NumPy does not have. `temperature` says whether the loss takes one.
    """

    framework = "numpy"
    patience = 1.0  # How many times longer than others a call may take.

    def __init__(self, fn: Function, gradient: Function | None, timeout: float) -> None:
        self.fn, self.gradient, self.timeout = fn, gradient, timeout
        self.temperature = takes_temperature(fn)

    def call(self, case: Case) -> Result:
        """Call the loss on one case and keep whatever happens."""
        seconds = self.timeout * self.patience
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"), time_limit(seconds):
                warnings.simplefilter("ignore")  # The report is one screen; odd inputs make many.
                return self._call(case)
        except _OutOfTime:
            return Result(case, "hangs", f"no answer after {seconds:.1f} s")
        except Exception as error:
            text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            return Result(case, "raises", text[:300])

    def _call(self, case: Case) -> Result:
        options = {"temperature": case.temperature} if self.temperature else {}
        inputs = self.inputs(case)
        raw, slope, error = self.differentiate(inputs, options, 0)
        if self.gradient is not None:
            slope, error = self.gradient(*self.inputs(case), **options), None
        given = (case.student_logits, case.teacher_logits, case.labels)
        pairs = zip(given, map(self.to_numpy, inputs), strict=True)
        teacher_slope = None
        if case.id == TEACHER_CASE:
            with suppress(Exception):  # The call above had none, or has reported it.
                _, teacher_slope, _ = self.differentiate(self.inputs(case), options, 1)
        return Result(
            case,
            loss=self.to_numpy(raw),
            gradient=None if slope is None else self.to_numpy(slope),
            gradient_error=error,
            inputs_modified=not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs),
            teacher_gradient=None if teacher_slope is None else float(abs(teacher_slope).max()),
            returned=type(raw).__module__.split(".")[0].removesuffix("lib"),  # jaxlib is JAX's
        )

    def inputs(self, case: Case) -> Inputs:
        """Student logits, teacher logits and labels as arrays of the framework."""
        return case.student_logits.copy(), case.teacher_logits.copy(), case.labels.copy()

    def differentiate(self, inputs: Inputs, options: Options, argument: int) -> Outputs:
        """The value, its gradient in one of the inputs, and an error if that cannot be had."""
        return self.fn(*inputs, **options), None, None

    def to_numpy(self, x: Any) -> Floats:
        """A float64 array of the same numbers."""
        return np.asarray(x).astype(np.float64)


class TorchAdapter(Adapter):
    """float32 tensors on the CPU and int64 labels; gradients by autograd."""

    framework = "torch"

    def __init__(self, fn: Function, gradient: Function | None, timeout: float) -> None:
        import torch

        super().__init__(fn, gradient, timeout)
        self.torch: Any = torch

    def inputs(self, case: Case) -> Inputs:
        tensor, float32 = self.torch.tensor, self.torch.float32
        s, t = (tensor(x, dtype=float32) for x in (case.student_logits, case.teacher_logits))
        return s, t, tensor(case.labels, dtype=self.torch.int64)

    def differentiate(self, inputs: Inputs, options: Options, argument: int) -> Outputs:
        x = inputs[argument].requires_grad_(True)
        slope = self.torch.zeros_like(x)
        with self.torch.enable_grad():
            raw = self.fn(*inputs, **options)
        if isinstance(raw, self.torch.Tensor) and raw.requires_grad:
            try:
                (found,) = self.torch.autograd.grad(raw.sum(), x, allow_unused=True)
            except Exception as error:
                return raw, None, f"{type(error).__name__}: {error}"
            slope = slope if found is None else found
        return raw, slope, None

    def to_numpy(self, x: Any) -> Floats:
        if isinstance(x, self.torch.Tensor):
            x = x.detach().to("cpu", self.torch.float64).numpy()
        return super().to_numpy(x)


class JaxAdapter(Adapter):
    """float32 logits (float64 with x64 enabled) and integer labels; gradients by `jax.grad`.

    The loss is compiled as a whole if it can be: one compilation per shape, not one per operation.
    """

    framework = "jax"
    patience = 6.0

    def __init__(self, fn: Function, gradient: Function | None, timeout: float) -> None:
        import jax

        super().__init__(fn, gradient, timeout)
        self.jax: Any = jax

        def total(s: Any, t: Any, y: Any, options: Options) -> tuple[Any, Any]:
            out = jax.numpy.asarray(fn(s, t, y, **options))
            return out.sum(), out

        plain = [jax.value_and_grad(total, argnums=i, has_aux=True) for i in (0, 1)]
        self.plain: list[Function] = plain
        self.compiled: list[Function] = [jax.jit(function) for function in plain]

    def inputs(self, case: Case) -> Inputs:
        array = self.jax.numpy.asarray
        return array(case.student_logits), array(case.teacher_logits), array(case.labels)

    def differentiate(self, inputs: Inputs, options: Options, argument: int) -> Outputs:
        for functions in (self.compiled, self.plain):
            try:
                (_, raw), slope = functions[argument](*inputs, options)
                return raw, slope, None
            except Exception as error:  # Not made for tracing: call it as it is from now on.
                self.compiled = self.plain
                message = f"{type(error).__name__}: {error}".splitlines()[0]
        return self.fn(*inputs, **options), None, message


ADAPTERS = {kind.framework: kind for kind in (Adapter, TorchAdapter, JaxAdapter)}


def choose_adapter(
    fn: Function, gradient: Function | None, framework: str | None, timeout: float
) -> Adapter:
    """The adapter of the framework; if none is given, of the first that `fn` works with.

    NumPy arrays are tried first: NumPy code takes them, JAX code takes them and returns an array of
    JAX, PyTorch code refuses them.
    """
    if framework:
        adapter = ADAPTERS[framework](fn, gradient, timeout)
        _try(adapter)
        return adapter
    loaded = [name for name in ("torch", "jax") if name in sys.modules]
    errors = []
    for name in ADAPTERS:
        with suppress(ImportError):
            adapter = ADAPTERS[name](fn, gradient, timeout)
            result = _try(adapter)
            if result.returned in {"torch", "jax"} - {name}:
                return choose_adapter(fn, gradient, result.returned, timeout)
            if result.state != "raises":
                return adapter
            errors.append(result.message)
    refused = errors[0].startswith(("TypeError", "AttributeError"))
    return ADAPTERS[loaded[0] if refused and loaded else "numpy"](fn, gradient, timeout)


def takes_temperature(fn: Function) -> bool:
    """Whether `fn` has an argument called `temperature`, or takes any keyword."""
    with suppress(TypeError, ValueError):  # Not all builtins have a signature.
        parameters = inspect.signature(getattr(fn, "forward", fn)).parameters.values()
        return any(p.name == "temperature" or p.kind is p.VAR_KEYWORD for p in parameters)
    return False


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt Python code after `seconds`, where there are alarms (Unix, main thread)."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_: Any) -> NoReturn:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _try(adapter: Adapter) -> Result:
    """The first result that is ok, or the last; finds out whether a temperature is accepted."""
    for case in (c for c in cases() if c.id in TRIAL_CASES):
        result = adapter.call(case)
        if result.message.startswith("TypeError") and "temperature" in result.message:
            adapter.temperature = False  # It is handed on to something that knows none.
            result = adapter.call(case)
        if result.state == "ok":
            break
    return result
