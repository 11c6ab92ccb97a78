"""Calling a loss in its own framework: NumPy arrays in, value and gradient in NumPy out.

PyTorch and JAX are imported only when an adapter for them is made.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cases import Case, Floats

Function = Callable[..., Any]
Inputs = tuple[Any, Any, Any]
Outputs = tuple[Any, Any | None, str | None]
Options = dict[str, float]


@dataclass(frozen=True)
class Result:
    """What a loss did on one case.

    `state` is "ok", "raises", "hangs", "crashes" or "skipped", and `message` says more.
    `returned` is the package that the value's type comes from, such as "torch".
    """

    id: str
    state: str = "ok"
    message: str = ""
    loss: Floats | None = None
    gradient: Floats | None = None
    gradient_error: str | None = None
    inputs_modified: bool = False
    teacher_gradient: float | None = None
    returned: str = ""


class Adapter(ABC):
    """One framework's way to call a loss; `gradient` replaces its automatic differentiation."""

    framework = ""
    patience = 1.0  # How many times longer than others a call may take.

    def __init__(self, fn: Function, gradient: Function | None) -> None:
        self.fn, self.gradient = fn, gradient
        self.temperature = takes_temperature(fn)

    def call(self, case: Case, *, with_teacher: bool = False) -> Result:
        """Value and student gradient; on request, what gradient reaches the teacher."""
        options = {"temperature": case.temperature} if self.temperature else {}
        inputs = self.inputs(case)
        raw, gradient, error = self.value_and_gradient(inputs, options)
        given = (case.student_logits, case.teacher_logits, case.labels)
        pairs = zip(given, map(self.to_numpy, inputs), strict=True)
        return Result(
            case.id,
            loss=self.to_numpy(raw),
            gradient=None if gradient is None else self.to_numpy(gradient),
            gradient_error=error,
            inputs_modified=not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs),
            teacher_gradient=self.teacher_gradient(case, options) if with_teacher else None,
            returned=type(raw).__module__.split(".")[0],
        )

    @abstractmethod
    def inputs(self, case: Case) -> Inputs:
        """Student logits, teacher logits and labels as the framework's arrays."""

    @abstractmethod
    def value_and_gradient(self, inputs: Inputs, options: Options) -> Outputs:
        """The value, its gradient in the student's logits, and why there is none."""

    def teacher_gradient(self, case: Case, options: Options) -> float | None:
        """Largest entry of the gradient that reaches the teacher; None if it cannot be told."""
        return None

    def to_numpy(self, x: Any) -> Floats:
        """A float64 array of the same numbers."""
        return np.asarray(x).astype(np.float64)


class NumpyAdapter(Adapter):
    """float64 arrays; the gradient comes from a second function, or not at all."""

    framework = "numpy"

    def inputs(self, case: Case) -> Inputs:
        return case.student_logits.copy(), case.teacher_logits.copy(), case.labels.copy()

    def value_and_gradient(self, inputs: Inputs, options: Options) -> Outputs:
        with np.errstate(all="ignore"):
            raw = self.fn(*inputs, **options)
            gradient = None if self.gradient is None else self.gradient(*inputs, **options)
        return raw, gradient, None


class TorchAdapter(Adapter):
    """float32 tensors on the CPU and int64 labels; gradients by autograd."""

    framework = "torch"

    def __init__(self, fn: Function, gradient: Function | None) -> None:
        import torch

        super().__init__(fn, gradient)
        self.torch: Any = torch

    def inputs(self, case: Case) -> Inputs:
        tensor, float32 = self.torch.tensor, self.torch.float32
        s = tensor(case.student_logits, dtype=float32, requires_grad=True)
        t = tensor(case.teacher_logits, dtype=float32)
        return s, t, tensor(case.labels, dtype=self.torch.int64)

    def value_and_gradient(self, inputs: Inputs, options: Options) -> Outputs:
        s, t, y = inputs
        with self.torch.enable_grad():
            raw = self.fn(s, t, y, **options)
        if self.gradient is not None:
            return raw, self.gradient(s.detach(), t, y, **options), None
        if not isinstance(raw, self.torch.Tensor) or not raw.requires_grad:
            return raw, np.zeros(s.shape), None
        try:
            (gradient,) = self.torch.autograd.grad(raw.sum(), s, allow_unused=True)
        except Exception as error:
            return raw, None, f"{type(error).__name__}: {error}"
        return raw, np.zeros(s.shape) if gradient is None else gradient, None

    def teacher_gradient(self, case: Case, options: Options) -> float | None:
        s, t, y = self.inputs(case)
        t.requires_grad_(True)
        try:
            with self.torch.enable_grad():
                total = self.fn(s, t, y, **options).sum()
                (gradient,) = self.torch.autograd.grad(total, t, allow_unused=True)
        except Exception:  # The plain call has reported it, or had no such trouble.
            return None
        return 0.0 if gradient is None else float(gradient.abs().max())

    def to_numpy(self, x: Any) -> Floats:
        if isinstance(x, self.torch.Tensor):
            x = x.detach().to("cpu", self.torch.float64).numpy()
        return super().to_numpy(x)


class JaxAdapter(Adapter):
    """float32 logits (float64 with x64 enabled) and integer labels; gradients by `jax.grad`.

    `fn` is compiled as a whole if it can be: one compilation per shape, not one per operation.
    """

    framework = "jax"
    patience = 6.0

    def __init__(self, fn: Function, gradient: Function | None) -> None:
        import jax

        super().__init__(fn, gradient)
        self.jax: Any = jax
        self.compile = True
        self.differentiated: dict[Any, tuple[Function, Function]] = {}

    def inputs(self, case: Case) -> Inputs:
        array = self.jax.numpy.asarray
        return array(case.student_logits), array(case.teacher_logits), array(case.labels)

    def value_and_gradient(self, inputs: Inputs, options: Options) -> Outputs:
        if self.gradient is not None:
            return self.fn(*inputs, **options), self.gradient(*inputs, **options), None
        try:
            return *self._differentiate(inputs, options, 0), None
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            return self.fn(*inputs, **options), None, message

    def teacher_gradient(self, case: Case, options: Options) -> float | None:
        try:
            _, gradient = self._differentiate(self.inputs(case), options, 1)
        except Exception:  # The plain call has reported it, or had no such trouble.
            return None
        return float(abs(gradient).max())

    def _differentiate(self, inputs: Inputs, options: Options, argument: int) -> tuple[Any, Any]:
        """Value, and gradient in one of the arguments."""

        def total(s: Any, t: Any, y: Any) -> tuple[Any, Any]:
            out = self.jax.numpy.asarray(self.fn(s, t, y, **options))
            return out.sum(), out

        key = (argument, *options.values())
        if key not in self.differentiated:
            plain = self.jax.value_and_grad(total, argnums=argument, has_aux=True)
            self.differentiated[key] = plain, self.jax.jit(plain)
        plain, compiled = self.differentiated[key]
        if self.compile:
            try:
                (_, raw), gradient = compiled(*inputs)
                return raw, gradient
            except Exception:  # Not made for tracing: call it as it is from now on.
                self.compile = False
        (_, raw), gradient = plain(*inputs)
        return raw, gradient


ADAPTERS: dict[str, type[Adapter]] = {
    kind.framework: kind for kind in (NumpyAdapter, TorchAdapter, JaxAdapter)
}


def takes_temperature(fn: Function) -> bool:
    """Whether `fn` has an argument called `temperature`, or takes any keyword."""
    try:
        parameters = inspect.signature(getattr(fn, "forward", fn)).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "temperature" or p.kind is p.VAR_KEYWORD for p in parameters)
