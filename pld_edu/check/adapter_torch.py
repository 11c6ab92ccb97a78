"""Calling a PyTorch loss: float32 tensors on the CPU, gradients by autograd."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .adapters import Result, inputs_changed
from .cases import Case, Floats


class TorchAdapter:
    """`fn` gets float32 logits and int64 labels."""

    def __init__(self, fn: Callable[..., Any], gradient: Callable[..., Any] | None) -> None:
        self.fn, self.gradient = fn, gradient

    def call(self, case: Case, options: dict[str, float]) -> Result:
        s, t, y = self._inputs(case)
        s.requires_grad_(True)
        with torch.enable_grad():
            raw = self.fn(s, t, y, **options)
        slope, error = self._gradient(raw, s, t, y, options)
        return Result(
            _to_numpy(raw),
            slope,
            error,
            str(getattr(raw, "dtype", "float64")).removeprefix("torch."),
            inputs_changed(case, s.detach(), t, y),
        )

    def teacher_gradient(self, case: Case, options: dict[str, float]) -> float | None:
        s, t, y = self._inputs(case)
        s.requires_grad_(True)
        t.requires_grad_(True)
        try:
            with torch.enable_grad():
                total = self.fn(s, t, y, **options).sum()
                (slope,) = torch.autograd.grad(total, t, allow_unused=True)
        except Exception:  # whatever it was, the plain call has reported it or had no such trouble
            return None
        return 0.0 if slope is None else float(slope.abs().max())

    def _inputs(self, case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        s = torch.tensor(case.student_logits, dtype=torch.float32)
        t = torch.tensor(case.teacher_logits, dtype=torch.float32)
        return s, t, torch.tensor(case.labels, dtype=torch.int64)

    def _gradient(
        self, raw: Any, s: torch.Tensor, t: torch.Tensor, y: torch.Tensor, options: dict[str, float]
    ) -> tuple[Floats | None, str | None]:
        if self.gradient is not None:
            return _to_numpy(self.gradient(s.detach(), t, y, **options)), None
        if not isinstance(raw, torch.Tensor) or not raw.requires_grad:
            return np.zeros(s.shape), None
        try:
            (slope,) = torch.autograd.grad(raw.sum(), s, allow_unused=True)
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"
        return (np.zeros(s.shape) if slope is None else _to_numpy(slope)), None


def _to_numpy(x: Any) -> Floats:
    if isinstance(x, torch.Tensor):
        x = x.detach().to("cpu", torch.float64).numpy()
    return np.asarray(x, dtype=np.float64)
