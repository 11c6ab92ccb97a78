"""PLD as one differentiable operator: the gradient comes with the loss and waits for backward.

In eager mode it is an `autograd.Function`, which costs microseconds. Under `torch.compile` and
`torch.func` transforms, and for meta and fake tensors, it is a custom operator, which costs tens of
them and which they take as a whole.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..losses.validation import reduce_rows
from . import rows

NO_SECOND_DERIVATIVE = (
    "pld_edu.fast has no second derivative: its gradient comes out of the forward pass; "
    "use pld_edu.losses.pld_loss, which has the same arguments and can be differentiated twice"
)


def from_teacher(
    reduction: str,
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    weights: str | Tensor,
    ignore_index: int,
) -> Tensor:
    """The reduced loss; arguments as in `rows.from_teacher`."""
    if _is_plain(student_logits):
        inputs = (teacher_logits, labels, temperature, weights, ignore_index)
        return _Eager.apply(rows.from_teacher, reduction, student_logits, *inputs)[0]
    name, given = (weights, None) if isinstance(weights, str) else ("given", weights.detach())
    inputs = (teacher_logits.detach(), labels, temperature, name, given, ignore_index)
    losses = _rows_from_teacher(student_logits, *inputs)[0]
    return reduce_rows(losses, labels != ignore_index, reduction, student_logits)


def from_targets(
    reduction: str, student_logits: Tensor, ranking: Tensor, alpha: Tensor
) -> Tensor:
    """The reduced loss; arguments as in `rows.from_targets`."""
    if _is_plain(student_logits):
        return _Eager.apply(rows.from_targets, reduction, student_logits, ranking, alpha)[0]
    losses = _rows_from_targets(student_logits, ranking, alpha)[0]
    return reduce_rows(losses, torch.ones_like(losses, dtype=torch.bool), reduction, student_logits)


def _is_plain(student_logits: Tensor) -> bool:
    """Whether there are numbers to look at, and nobody is watching."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or type(student_logits) not in (Tensor, torch.nn.Parameter)
        or student_logits.device.type == "meta"
    )


def _scaled(gradient: Tensor, by: Tensor, dtype: torch.dtype) -> Tensor:
    return (gradient * by.to(gradient.dtype)).to(dtype)


class _Eager(torch.autograd.Function):
    """``apply(compute, reduction, student_logits, ...)``, reduced here: fewer nodes, less time."""

    @staticmethod
    def forward(
        ctx: Any, compute: Callable[..., rows.Results], reduction: str, *inputs: Any
    ) -> tuple[Tensor, Tensor]:
        losses, gradient, keep = compute(*inputs)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(gradient)
        ctx.reduction, ctx.dtype, ctx.inputs = reduction, inputs[0].dtype, len(inputs)
        if keep is None:
            keep = torch.ones_like(losses, dtype=torch.bool)
        ctx.counted = keep.sum().clamp(min=1) if reduction == "mean" else 1
        return reduce_rows(losses, keep, reduction, inputs[0]), gradient

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_gradient: Tensor | None) -> tuple:
        if grad_gradient is not None:
            raise RuntimeError(NO_SECOND_DERIVATIVE)
        slope = None
        if grad is not None:
            grad = grad.unsqueeze(-1) if ctx.reduction == "none" else grad / ctx.counted
            slope = _scaled(ctx.saved_tensors[0], grad, ctx.dtype)
        return (None, None, slope, *[None] * (ctx.inputs - 1))


@torch.library.custom_op("pld_edu::rows_from_teacher", mutates_args=())
def _rows_from_teacher(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    weights: str,
    given: Tensor | None,
    ignore_index: int,
) -> tuple[Tensor, Tensor]:
    chosen = weights if given is None else given
    inputs = (student_logits, teacher_logits, labels, temperature, chosen, ignore_index)
    return rows.from_teacher(*inputs)[:2]


@torch.library.custom_op("pld_edu::rows_from_targets", mutates_args=())
def _rows_from_targets(
    student_logits: Tensor, ranking: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    return rows.from_targets(student_logits, ranking, alpha)[:2]


def _shapes(student_logits: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    """What `torch.compile` needs to know of the results."""
    wide = rows.widest(student_logits)
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    return (
        student_logits.new_empty(student_logits.shape[:-1], dtype=wide),
        student_logits.new_empty(student_logits.shape, dtype=dtype),
    )


def _keep_gradient(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])
    ctx.dtype, ctx.inputs = inputs[0].dtype, len(inputs)


def _scale_gradient(ctx: Any, grad: Tensor | None, grad_gradient: Tensor | None) -> tuple:
    if grad_gradient is not None:
        raise RuntimeError(NO_SECOND_DERIVATIVE)
    slope = None if grad is None else _scaled(ctx.saved_tensors[0], grad.unsqueeze(-1), ctx.dtype)
    return (slope, *[None] * (ctx.inputs - 1))


def _mapped(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Rows are independent and have any leading shape: a mapped axis is one axis more."""

    def rule(info: Any, in_dims: tuple, *inputs: Any) -> tuple:
        leading = [
            z.movedim(dim, 0)
            if dim is not None
            else z.expand(info.batch_size, *z.shape)
            if isinstance(z, Tensor)
            else z
            for z, dim in zip(inputs, in_dims, strict=True)
        ]
        return operator(*leading), (0, 0)

    return rule


for _operator in (_rows_from_teacher, _rows_from_targets):
    _operator.register_fake(_shapes)
    _operator.register_autograd(_scale_gradient, setup_context=_keep_gradient)
    _operator.register_vmap(_mapped(_operator))
