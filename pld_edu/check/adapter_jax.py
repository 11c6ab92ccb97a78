"""Calling a JAX loss: arrays of JAX's default float type, gradients by `jax.grad`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .adapters import Result, inputs_changed
from .cases import Case


class JaxAdapter:
    """`fn` gets float32 logits (float64 with x64 enabled) and integer labels.

    It is compiled as a whole if it can be: one compilation a shape, not one an operation.
    """

    def __init__(self, fn: Callable[..., Any], gradient: Callable[..., Any] | None) -> None:
        self.fn, self.gradient = fn, gradient
        self.compile = True
        self.functions: dict[Any, tuple[Callable[..., Any], Callable[..., Any]]] = {}

    def call(self, case: Case, options: dict[str, float]) -> Result:
        s, t, y = inputs = self._inputs(case)
        slope, error = None, None
        if self.gradient is not None:
            raw = self.fn(*inputs, **options)
            slope = np.asarray(self.gradient(*inputs, **options), dtype=np.float64)
        else:
            try:
                raw, grad = self._value_and_gradient(inputs, options, 0)
                slope = np.asarray(grad, dtype=np.float64)
            except Exception as problem:
                raw = self.fn(*inputs, **options)
                error = f"{type(problem).__name__}: {problem}".splitlines()[0]
        loss = np.asarray(raw, dtype=np.float64)
        dtype = str(getattr(raw, "dtype", "float64"))
        return Result(loss, slope, error, dtype, inputs_changed(case, s, t, y))

    def teacher_gradient(self, case: Case, options: dict[str, float]) -> float | None:
        try:
            _, grad = self._value_and_gradient(self._inputs(case), options, 1)
        except Exception:  # whatever it was, the plain call has reported it or had no such trouble
            return None
        return float(jnp.abs(grad).max())

    def _value_and_gradient(
        self, inputs: tuple[Any, Any, Any], options: dict[str, float], argument: int
    ) -> tuple[Any, Any]:
        key = (argument, options.get("temperature"))
        if key not in self.functions:
            self.functions[key] = self._differentiated(options, argument)
        plain, compiled = self.functions[key]
        if self.compile:
            try:
                (_, raw), grad = compiled(*inputs)
                return raw, grad
            except Exception:  # not made for tracing; call it as it is from now on
                self.compile = False
        (_, raw), grad = plain(*inputs)
        return raw, grad

    def _differentiated(
        self, options: dict[str, float], argument: int
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        def total(s: Any, t: Any, y: Any) -> tuple[Any, Any]:
            out = jnp.asarray(self.fn(s, t, y, **options))
            return out.sum(), out

        plain = jax.value_and_grad(total, argnums=argument, has_aux=True)
        return plain, jax.jit(plain)

    def _inputs(self, case: Case) -> tuple[Any, Any, Any]:
        return (
            jnp.asarray(case.student_logits),
            jnp.asarray(case.teacher_logits),
            jnp.asarray(case.labels),
        )
