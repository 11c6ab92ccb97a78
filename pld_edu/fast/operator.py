"""PLD as one differentiable operator: the gradient comes with the loss and waits for backward.

There are three ways in, all to the same numbers:

- `_Eager`, an `autograd.Function` that costs microseconds, where nobody is watching;
- `_Transformed`, one that `torch.func` and `vmap` can see into, which costs tens of them;
- custom operators, which `torch.compile`, meta and fake tensors take as a whole.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..losses.validation import reduce_rows
from . import rows
from .weights import widest

NO_SECOND_DERIVATIVE = (
    "pld_edu.fast has no second or forward-mode derivative: its gradient comes out of the forward "
    "pass; use pld_edu.losses, whose pld_loss takes the same arguments and has both"
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
    teacher_logits = teacher_logits.detach()
    inputs = (student_logits, teacher_logits, labels, temperature, weights, ignore_index)
    if _is_opaque(student_logits):
        name, given = (weights, None) if isinstance(weights, str) else ("", weights.detach())
        losses = _rows_from_teacher(*inputs[:4], name, given, ignore_index)[0]
    elif torch._C._are_functorch_transforms_active():
        losses = _Transformed.apply(rows.from_teacher, *inputs)[0]
    else:
        return _Eager.apply(rows.from_teacher, reduction, *inputs)[0]
    return reduce_rows(losses, labels != ignore_index, reduction, student_logits)


def from_targets(reduction: str, student_logits: Tensor, ranking: Tensor, alpha: Tensor) -> Tensor:
    """The reduced loss; arguments as in `rows.from_targets`."""
    inputs = (student_logits, ranking, alpha)
    if _is_opaque(student_logits):
        losses = _rows_from_targets(*inputs)[0]
    elif torch._C._are_functorch_transforms_active():
        losses = _Transformed.apply(rows.from_targets, *inputs)[0]
    else:
        return _Eager.apply(rows.from_targets, reduction, *inputs)[0]
    return reduce_rows(losses, torch.ones_like(losses, dtype=torch.bool), reduction, student_logits)


def _is_opaque(student_logits: Tensor) -> bool:
    """Whether there are no numbers to look at."""
    return (
        torch.compiler.is_compiling()
        or type(student_logits) not in (Tensor, torch.nn.Parameter)
        or student_logits.device.type == "meta"
    )


class _Eager(torch.autograd.Function):
    """``apply(compute, reduction, student_logits, ...)``, reduced here: fewer nodes, less time."""

    @staticmethod
    def forward(
        ctx: Any, compute: Callable[..., rows.Results], reduction: str, *inputs: Any
    ) -> tuple[Tensor, Tensor]:
        losses, gradient, keep = compute(*inputs)
        _keep_gradient(ctx, inputs, (losses, gradient))
        ctx.reduction, ctx.counted = reduction, 1
        if keep is None and losses.numel():
            if reduction == "mean":
                losses, ctx.counted = losses.mean(), losses.numel()
            elif reduction == "sum":
                losses = losses.sum()
            return losses.to(gradient.dtype), gradient
        if keep is None:
            keep = torch.ones_like(losses, dtype=torch.bool)
        if reduction == "mean":
            ctx.counted = keep.sum().clamp(min=1)
        return reduce_rows(losses, keep, reduction, inputs[0]), gradient

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_gradient: Tensor | None) -> tuple:
        if grad is not None:
            grad = grad.unsqueeze(-1) if ctx.reduction == "none" else grad / ctx.counted
        return (None, None, *_scale_gradient(ctx, grad, grad_gradient))


class _Transformed(torch.autograd.Function):
    """``apply(compute, student_logits, ...)``, giving rows and gradient."""

    @staticmethod
    def forward(compute: Callable[..., rows.Results], *inputs: Any) -> tuple[Tensor, Tensor]:
        return compute(*inputs)[:2]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        _keep_gradient(ctx, inputs[1:], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_gradient: Tensor | None) -> tuple:
        return (None, *_scale_gradient(ctx, _of_rows(ctx, grad), grad_gradient))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise RuntimeError(NO_SECOND_DERIVATIVE)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, *inputs: Any) -> tuple:
        """Rows are independent and have any leading shape: a mapped axis is one axis more."""
        leading = [
            z.movedim(dim, 0)
            if dim is not None
            else z.expand(info.batch_size, *z.shape)
            if isinstance(z, Tensor)
            else z
            for z, dim in zip(inputs, in_dims, strict=True)
        ]
        return _Transformed.apply(*leading), (0, 0)


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
    wide = widest(student_logits)
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    return (
        student_logits.new_empty(student_logits.shape[:-1], dtype=wide),
        student_logits.new_empty(student_logits.shape, dtype=dtype),
    )


def _keep_gradient(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])
    ctx.dtype, ctx.inputs = inputs[0].dtype, len(inputs)


def _of_rows(ctx: Any, grad: Tensor | None) -> Tensor | None:
    """The derivative [...] in the row losses, for gradients [..., C]."""
    return None if grad is None else grad.to(ctx.saved_tensors[0].dtype).unsqueeze(-1)


def _scale_gradient(ctx: Any, grad: Tensor | None, grad_gradient: Tensor | None) -> tuple:
    if grad_gradient is not None:
        raise RuntimeError(NO_SECOND_DERIVATIVE)
    slope = None if grad is None else (ctx.saved_tensors[0] * grad).to(ctx.dtype)
    return (slope, *[None] * (ctx.inputs - 1))


def _scale_gradient_of_operator(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple:
    return _scale_gradient(ctx, _of_rows(ctx, grad), None)


def _keep_gradient_of_operator(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    # torch.compile, for which the operators are, has no second derivatives itself.
    ctx.mark_non_differentiable(output[1])
    _keep_gradient(ctx, inputs, output)


for _operator in (_rows_from_teacher, _rows_from_targets):
    _operator.register_fake(_shapes)
    _operator.register_autograd(
        _scale_gradient_of_operator, setup_context=_keep_gradient_of_operator
    )
