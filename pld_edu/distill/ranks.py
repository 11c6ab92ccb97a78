"""Several processes, one run: what `torchrun` starts computes the same numbers as one process.

Each process ("rank") takes an equal share of every batch. The logits are gathered, so that each
loss sees the whole batch: DIST's correlations along the batch are those of one process, and the
others are too. Batch normalisation takes its statistics over all ranks. Gradients are averaged by
`DistributedDataParallel`; as every rank computes the loss of the whole batch, and the gather's
gradient sums what all of them ask for, the average is that loss's gradient. The first process
writes all files, and the output folder must be one that all of them see.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes if `torchrun` has started us, and leave them at the end.

    Yields
    ------
    torch.device
        This process's own: of several GPUs the one with its local rank.
    """
    if not dist.is_torchelastic_launched():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def count() -> int:
    """How many processes share this run; 1 without `torchrun`."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return not dist.is_torchelastic_launched() or os.environ["RANK"] == "0"


def wait() -> None:
    """Until every process is here."""
    if count() > 1:
        dist.barrier()


def share(batch_size: int) -> slice:
    """Which part of a batch is this process's.

    Raises
    ------
    ValueError
        A batch that cannot be shared equally.
    """
    if count() == 1:
        return slice(None)
    size, rest = divmod(batch_size, count())
    if rest:
        raise ValueError(f"a batch of {batch_size} cannot be shared equally by {count()} processes")
    return slice(dist.get_rank() * size, (dist.get_rank() + 1) * size)


class Total(torch.autograd.Function):
    """The sum of a tensor over all processes, which sums their gradients in turn."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return Total.apply(gradients[0])


def gather(values: Tensor) -> Tensor:
    """The rows of all processes, in order; gradients go back to whose rows they are."""
    if count() == 1:
        return values
    rows = values.new_zeros(count() * len(values), *values.shape[1:])
    rows[share(len(rows))] = values
    return Total.apply(rows)


def parallel(network: nn.Module) -> nn.Module:
    """The network itself, or wrapped so that its gradients are averaged over the processes."""
    if count() == 1:
        return network
    ids = [torch.cuda.current_device()] if on_gpu(network) else None
    return nn.parallel.DistributedDataParallel(network, ids)


def on_gpu(network: nn.Module) -> bool:
    """Whether the network lies there; one without parameters does not."""
    return any(parameter.is_cuda for parameter in network.parameters())


def with_shared_statistics(network: nn.Module) -> nn.Module:
    """The network with batch statistics over all processes, if there are several."""
    if count() == 1:
        return network
    if on_gpu(network):
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for name, part in network.named_children():
        setattr(network, name, with_shared_statistics(part))
    if not isinstance(network, nn.BatchNorm2d):
        return network
    shared = SharedBatchNorm2d(network.num_features, network.eps, cast(float, network.momentum))
    shared.load_state_dict(network.state_dict())
    return shared.to(network.weight)  # its dtype


class SharedBatchNorm2d(nn.BatchNorm2d):
    """What `nn.SyncBatchNorm` does, on CPUs, for which PyTorch has none."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        # Autocast may hand us bfloat16.
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        rows = wide.shape[0] * wide.shape[2] * wide.shape[3] * count()
        mean = Total.apply(wide.sum(dim=(0, 2, 3))) / rows
        centred = wide - mean[:, None, None]
        variance = Total.apply(centred.square().sum(dim=(0, 2, 3))) / rows
        with torch.no_grad():
            for kept, new in (
                (self.running_mean, mean),
                (self.running_var, variance * rows / (rows - 1)),
            ):
                cast(Tensor, kept).lerp_(new, cast(float, self.momentum))
            cast(Tensor, self.num_batches_tracked).add_(1)
        scale = self.weight / (variance + self.eps).sqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(values.dtype)
