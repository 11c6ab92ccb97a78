"""Networks trained side by side on the same augmented batches of images.

A teacher, if there is one, sees each batch once for all its students. What distinguishes the
students of a seed is their loss and nothing else: weights, batches, crops and flips are the same,
and none sees another's gradient, so each ends as if it had been trained alone.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import ranks
from .augment import Views, crop_and_flip, draw_views, normalise
from .cuda_graph import can_record, recorded, unchanged
from .experiment import SGDRecipe
from .objectives import Loss, set_warmth
from .training import batches, resumable

CHUNK = 500  # images that `predict` looks at together


class Images(NamedTuple):
    """Images uint8 [N, 32, 32, 3] and labels int64 [N], all on one device."""

    inputs: Tensor
    labels: Tensor


class Learner(NamedTuple):
    """A network and the loss that it minimises."""

    network: nn.Module
    loss: Loss


def train_together(
    learners: Mapping[str, Learner],
    train: Images,
    recipe: SGDRecipe,
    seed: int,
    checkpoint: Path,
    *,
    teacher: nn.Module | None = None,
    precision: str = "float32",
    after_epoch: Callable[[str], dict[str, float]] | None = None,
    label: str = "",
    progress: bool = True,
) -> tuple[list[dict[str, dict[str, float]]], float]:
    """Train every learner by one recipe, with a checkpoint after each epoch.

    Parameters
    ----------
    learners : mapping of str to Learner
        By name; the networks are trained in place, on the device of `train`.
    train : Images
    recipe : SGDRecipe
    seed : int
        Of the order of the images, and of their crops and flips.
    checkpoint : Path
        If it exists, training goes on from it; a finished one is only loaded.
    teacher : nn.Module, optional
        Gives the losses their teacher logits; None if they want none.
    precision : {"float32", "bfloat16"}
        Of the networks' arithmetic.
    after_epoch : callable, optional
        Measures the network of this name after an epoch, in evaluation mode.
    label : str
        Stands before the progress bar.
    progress : bool

    Returns
    -------
    history : list of dict
        For each epoch, by name: the epoch (from 1), the mean of the `train_loss`, and what
        `after_epoch` gave.
    seconds : float
        Time spent, earlier sittings included.

    Raises
    ------
    FloatingPointError
        A loss is no longer finite; the message says whose, in which epoch and in which step.
    """
    networks = nn.ModuleDict({name: learner.network for name, learner in learners.items()})
    optimizer = SGD(networks, recipe, train.labels.device)
    step = Step(learners, networks, optimizer, train, teacher, precision)
    samples, device = len(train.labels), train.labels.device
    steps = samples // recipe.batch_size

    def run_epoch(epoch: int, step_done: Callable[[], object]) -> dict[str, dict[str, float]]:
        networks.train()
        order = torch.from_numpy(batches(seed, epoch, samples, recipe.batch_size)).to(device)
        views = draw_epoch(seed, epoch, steps, recipe.batch_size, device)
        values = torch.empty(steps, len(learners), device=device)
        for place in range(steps):
            done = (epoch * steps + place) / (recipe.epochs * steps)
            optimizer.set_learning_rate(recipe.learning_rate * (1 + math.cos(math.pi * done)) / 2)
            set_warmth((learner.loss for learner in learners.values()), done)
            values[place] = step(order[place], Views(views.offsets[place], views.flips[place]))
            if device.type == "cpu":  # elsewhere reading a value would make the device wait
                check_finite(values[: place + 1], list(learners), epoch)
            step_done()
        check_finite(values, list(learners), epoch)
        networks.eval()
        return {
            name: {"epoch": epoch + 1, "train_loss": loss}
            | (after_epoch(name) if after_epoch else {})
            for name, loss in zip(learners, values.mean(dim=0).tolist(), strict=True)
        }

    found = resumable(
        run_epoch,
        recipe.epochs,
        steps,
        {"networks": networks, "optimizer": optimizer},
        checkpoint,
        label=label,
        progress=progress and ranks.first(),
        writes=ranks.first(),
    )
    networks.eval()
    return found


class SGD(torch.optim.SGD):
    """Nesterov's SGD as a recipe says, whose state goes from one device to another."""

    def __init__(self, networks: nn.Module, recipe: SGDRecipe, device: torch.device) -> None:
        rate: float | Tensor = recipe.learning_rate
        recording = can_record(device)
        if recording:  # a recorded graph sees it fall only if it is a tensor
            rate = torch.tensor(rate, device=device)
        super().__init__(
            networks.parameters(),
            lr=rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=True,
            fused=recording,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        (group,) = self.param_groups
        own = {name: group[name] for name in ("lr", "fused")}
        super().load_state_dict(state_dict)
        self.param_groups[0].update(own)

    def set_learning_rate(self, value: float) -> None:
        """From the next step on."""
        (group,) = self.param_groups
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


class Step:
    """One step of all learners: called with a batch's rows and views, returns their losses [L].

    On one GPU the first call records the step, and the others replay it. With several processes
    each computes its share of the batch.
    """

    def __init__(
        self,
        learners: Mapping[str, Learner],
        networks: nn.ModuleDict,
        optimizer: SGD,
        train: Images,
        teacher: nn.Module | None,
        precision: str,
    ) -> None:
        self.losses = [learner.loss for learner in learners.values()]
        self.networks = networks
        self.parallel = [ranks.parallel(network) for network in networks.values()]
        self.optimizer = optimizer
        self.images = torch.cat([normalise(chunk) for chunk in train.inputs.split(CHUNK)])
        self.labels = train.labels
        self.teacher = teacher
        self.precision = precision
        self.replay: Callable[[], Tensor] | None = None

    def __call__(self, rows: Tensor, views: Views) -> Tensor:
        own = ranks.share(len(rows))
        rows, views = rows[own], Views(views.offsets[own], views.flips[own])
        inputs, labels = crop_and_flip(self.images[rows], views), self.labels[rows]
        if not can_record(labels.device):
            return self.update(inputs, labels)
        if self.replay is None:
            self.batch = inputs.clone(), labels.clone()
            with unchanged(self.networks, self.optimizer):
                self.replay = recorded(lambda: self.update(*self.batch), labels.device)
        for there, here in zip(self.batch, (inputs, labels), strict=True):
            there.copy_(here)
        return self.replay()

    def update(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Forward, loss and backward of each learner, then one step of the optimizer for all."""
        self.optimizer.zero_grad()
        teacher_logits = torch.empty(0)
        if self.teacher is not None:
            with torch.no_grad():
                teacher_logits = ranks.gather(logits_of(self.teacher, inputs, self.precision))
        labels = ranks.gather(labels)
        values = []
        for network, loss in zip(self.parallel, self.losses, strict=True):
            logits = ranks.gather(logits_of(network, inputs, self.precision))
            if logits.device.type == "cpu" and not logits.isfinite().all():
                value = logits.sum()  # not finite either: the losses would refuse such logits
            else:
                value = loss(logits, teacher_logits, labels)
            value.backward()
            values.append(value.detach())
        self.optimizer.step()
        return torch.stack(values)


def logits_of(network: nn.Module, inputs: Tensor, precision: str) -> Tensor:
    """Logits float32 [N, C] of normalised images [N, 3, H, W], with the network in `precision`."""
    on_cpu = inputs.device.type == "cpu"
    if precision == "float32" or (on_cpu and has_grouped_convolutions(network)):
        return network(inputs)
    # Nothing is cached: weights change every step, and a recorded CUDA graph allows no cache.
    with torch.autocast(inputs.device.type, torch.bfloat16, cache_enabled=False):
        return network(inputs).float()


def has_grouped_convolutions(network: nn.Module) -> bool:
    """Whether there are some, as in mobile networks: bfloat16 triples their time on a CPU."""
    return any(getattr(part, "groups", 1) > 1 for part in network.modules())


def predict(network: nn.Module, inputs: Tensor, precision: str = "float32") -> Tensor:
    """Logits float32 [N, C] of images uint8 [N, H, W, 3] as they are, in evaluation mode."""
    network.eval()
    with torch.no_grad():
        chunks = inputs.split(CHUNK)
        return torch.cat([logits_of(network, normalise(chunk), precision) for chunk in chunks])


def draw_epoch(
    seed: int, epoch: int, steps: int, batch_size: int, device: torch.device | str
) -> Views:
    """The views of every batch of an epoch, [steps, batch, ...], sent to the device at once."""
    drawn = [draw_views(seed, epoch, step, batch_size) for step in range(steps)]
    return Views(*(torch.stack(parts).to(device) for parts in zip(*drawn, strict=True)))


def check_finite(values: Tensor, names: list[str], epoch: int) -> None:
    """Refuse losses [steps, L] of an epoch of which one is NaN or infinite; name the first."""
    if not bool(values.isfinite().all()):
        step, place = (~values.isfinite()).nonzero()[0].tolist()
        raise FloatingPointError(
            f"the loss of {names[place]} became {values[step, place].item()} "
            f"in epoch {epoch + 1}, step {step + 1}; a lower learning rate may help"
        )


def to_device(split: Any, device: torch.device | str) -> Images:
    """A split of arrays or tensors as `Images` on a device."""
    return Images(*(torch.as_tensor(part).to(device) for part in split))
