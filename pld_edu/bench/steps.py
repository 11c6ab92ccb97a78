"""From the published listing towards `pld_edu.fast`, one idea a step; and single operations.

The steps are for tame float32 logits on a CPU: the checks, the tie rule's every corner and the
accuracy at large logits are `pld_edu.fast`'s. They keep the listing's layout, in which ranks
run backwards and the label comes last, so that tails are running sums.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .contenders import TEMPERATURE, Batch, Pass, differentiated


def label_last(teacher: Tensor, labels: Tensor) -> Tensor:
    """The listing's order [B, C] of float32 logits, by a sort of integers.

    The bits of a positive float, read as an integer, rise with it; those of a negative one fall,
    until all but the sign are inverted. Such a key and a class share one int64, and equal keys
    are in the order of their classes, the higher one first.
    """
    bits = teacher.numpy().view(np.int32)
    keys = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys[np.arange(len(keys)), labels.numpy()] = 0x7FFFFFFF
    last = keys.shape[1] - 1
    packed = (keys.astype(np.int64) << 32) | np.arange(last, -1, -1)
    packed.sort(axis=1)
    return torch.from_numpy(last - (packed & 0xFFFFFFFF))


def listing_order(teacher: Tensor, labels: Tensor) -> Tensor:
    """The same from `torch.argsort` and a mask, as the listing does it."""
    order = teacher.argsort(dim=1)
    others = order[order != labels[:, None]].view(len(order), -1)
    return torch.cat([others, labels[:, None]], dim=1)


def ordered(batch: Batch, order: Tensor) -> tuple[Tensor, Tensor]:
    """The student's logits below its largest, and the weights, both [B, C] in `order`."""
    student, teacher, _ = batch
    s = student.gather(1, order)
    alpha = (teacher.gather(1, order) / TEMPERATURE).softmax(1)
    return s - s.amax(1, keepdim=True).detach(), alpha


def with_cumsum(*batch: Tensor) -> Tensor:
    """Step 1: a sum of exponentials, and one logarithm of it, for the running logsumexp."""
    s, alpha = ordered(Batch(*batch), listing_order(*batch[1:]))
    return ((s.exp().cumsum(1).log() - s) * alpha).sum(1).mean()


def with_integer_sort(*batch: Tensor) -> Tensor:
    """Step 2: integers are sorted, no mask is needed."""
    s, alpha = ordered(Batch(*batch), label_last(*batch[1:]))
    return ((s.exp().cumsum(1).log() - s) * alpha).sum(1).mean()


@torch.no_grad()
def loss_and_gradient(order: Tensor, s: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Step 3: ``dL/ds_i = exp(s_i) sum_{k <= rank(i)} alpha_k / tail_k - alpha_i``, by hand."""
    worth = s.exp()
    tails = worth.cumsum(1)
    loss = ((tails.log() - s) * alpha).sum(1).mean()
    shares = (alpha / tails).flip(1).cumsum(1).flip(1)
    slopes = (worth * shares - alpha) / len(s)
    return loss, torch.empty_like(slopes).scatter_(1, order, slopes)


def gradient_by_hand(batch: Batch) -> Pass:
    """Step 3, with the sort of step 2."""

    def forward_and_backward() -> Tensor:
        detached = Batch(batch.student.detach(), *batch[1:])
        order = label_last(*batch[1:])
        return loss_and_gradient(order, *ordered(detached, order))[1]

    return forward_and_backward


def order_given(batch: Batch) -> Pass:
    """Step 4: what depends on the teacher alone is there already."""
    detached = Batch(batch.student.detach(), *batch[1:])
    order = label_last(*batch[1:])
    _, alpha = ordered(detached, order)

    def forward_and_backward() -> Tensor:
        s = detached.student.gather(1, order)
        return loss_and_gradient(order, s - s.amax(1, keepdim=True), alpha)[1]

    return forward_and_backward


STEPS: dict[str, Callable[[Batch], Pass]] = {
    "cumsum": differentiated(with_cumsum),
    "integer sort": differentiated(with_integer_sort),
    "gradient by hand": gradient_by_hand,
    "order given": order_given,
}

PARTS: dict[str, Callable[[Batch], Pass]] = {
    "copy": lambda batch: batch.teacher.clone,
    "torch.argsort": lambda batch: lambda: batch.teacher.argsort(1),
    "torch.sort, stable": lambda batch: lambda: batch.teacher.sort(dim=1, stable=True),
    "sort of integers": lambda batch: lambda: label_last(*batch[1:]),
    "logcumsumexp": lambda batch: lambda: batch.teacher.logcumsumexp(1),
    "exp, cumsum, log": lambda batch: lambda: batch.teacher.exp().cumsum(1).log(),
}
