"""The training loop, for every network, data set and recipe; it goes on where it was interrupted.

Learners see the same batches side by side, and a teacher sees each batch once for all of them. What
distinguishes the students of a seed is their loss and nothing else: weights, batches, crops and
flips are the same, and none sees another's gradient, so each ends as if it had been trained alone.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from tqdm import tqdm

from .._files import write_atomically
from .augment import Views, crop_and_flip, draw_views, normalise
from .cuda_graph import GraphedStep, can_capture
from .experiment import Recipe, SGDRecipe
from .networks import Stack
from .objectives import Loss, set_progress

CHUNK = 500  # samples that `predict` looks at together
History = list[dict[str, dict[str, float]]]  # for each epoch, by name


class Samples(NamedTuple):
    """Inputs, float [N, ...] or images uint8 [N, 32, 32, 3], and labels int64 [N], on a device."""

    inputs: Tensor
    labels: Tensor


class Learner(NamedTuple):
    """A network and its loss; a `Stack` has names for its networks, and a loss for each.

    A learning rate of its own replaces the recipe's.
    """

    network: nn.Module
    loss: Loss
    members: tuple[str, ...] = ()
    learning_rate: float | None = None


class Trainer:
    """Trains every learner by one recipe.

    Parameters
    ----------
    learners : mapping of str to Learner
        By name; the networks are trained in place, on the device of `data`.
    data : Samples
        Images are cropped and flipped anew in each step, other inputs are used as they are.
    recipe : Recipe
    seed : int or sequence of R int
        Of the order of the samples, and of crops and flips. With several, each step has R batches
        [R, N, ...], which a `Stack` takes.
    teacher : nn.Module or Tensor [samples, C], optional
        Gives the losses their teacher logits; a tensor has those of all samples as they are.
    precision : {None, "float32", "bfloat16"}
        Of the networks' arithmetic; None is float32.
    """

    def __init__(
        self,
        learners: Mapping[str, Learner],
        data: Samples,
        recipe: Recipe,
        seed: int | Sequence[int],
        teacher: nn.Module | Tensor | None = None,
        precision: str | None = None,
    ) -> None:
        self.names = [name for key, own in learners.items() for name in own.members or (key,)]
        self.networks = nn.ModuleList(learner.network for learner in learners.values())
        self.losses = [learner.loss for learner in learners.values()]
        self.images = data.inputs.dtype == torch.uint8
        self.inputs = torch.cat([to_float(chunk) for chunk in data.inputs.split(CHUNK)])
        self.labels, self.device = data.labels, data.labels.device
        self.recipe, self.seed, self.teacher, self.precision = recipe, seed, teacher, precision
        self.steps = len(self.labels) // recipe.batch_size  # in an epoch
        own = (learner.learning_rate for learner in learners.values())
        self.rates = [recipe.learning_rate if rate is None else rate for rate in own]
        self.optimizer = make_optimizer(self.networks, self.rates, recipe, self.device)
        self.on_batch = GraphedStep(self.update) if can_capture(self.device) else self.update
        for loss in self.losses:
            if isinstance(loss, nn.Module):
                loss.to(self.device)

    def fit(
        self,
        checkpoint: Path,
        after_epoch: Callable[[str], dict[str, float]] | None = None,
        label: str = "",
        progress: bool = True,
    ) -> tuple[History, float]:
        """Train to the last epoch; return the history, and all seconds spent.

        Each epoch ends with a checkpoint: if it exists, training goes on from it; a finished one is
        only loaded. The history has for each epoch, by name, the epoch (from 1), the means over its
        steps of the loss, `train_loss`, and of the `gradient_norm` in all weights, and what
        `after_epoch` measured, which is given a name and finds the networks in evaluation mode. A
        progress bar with this label is shown on stderr.

        Raises
        ------
        FloatingPointError
            A loss is no longer finite; the message says whose, in which epoch and in which step.
        """
        done, spent, history = self.load(checkpoint)
        start, epochs = time.perf_counter() - spent, self.recipe.epochs
        shown: Any = {"desc": label, "unit": "step", "disable": not progress}
        with tqdm(total=epochs * self.steps, initial=done * self.steps, **shown) as bar:
            for epoch in range(done, epochs):
                means = self.run_epoch(epoch, bar.update)
                history.append({})
                for name, (value, norm) in zip(self.names, means, strict=True):
                    measured = after_epoch(name) if after_epoch else {}
                    line = {"epoch": epoch + 1, "train_loss": value, "gradient_norm": norm}
                    history[epoch][name] = line | measured
                spent = time.perf_counter() - start
                self.save(checkpoint, epochs=epoch + 1, seconds=spent, history=history)
        self.networks.eval()
        return history, spent

    def run_epoch(self, epoch: int, step_done: Callable[[], object]) -> list[list[float]]:
        """Take the steps of an epoch, counted from 0; mean loss and gradient norm of each name."""
        self.networks.train()
        rows, views = self.draw_batches(epoch)
        values = torch.empty(self.steps, len(self.names), 2, device=self.device)
        for place in range(self.steps):
            done = (epoch * self.steps + place) / (self.recipe.epochs * self.steps)
            set_progress(self.losses, done)
            # Half a cosine: eta_i = eta_0 (1 + cos(pi i / n)) / 2 in step i of n.
            for group, first in zip(self.optimizer.param_groups, self.rates, strict=True):
                rate = first * (1 + math.cos(math.pi * done)) / 2
                now = group["lr"]
                group["lr"] = now.fill_(rate) if isinstance(now, Tensor) else rate
            values[place] = self.step(rows[place], views and Views(*(v[place] for v in views)))
            # Elsewhere than on a CPU, looking at a value would make the device wait.
            if self.device.type == "cpu" and not values[place, :, 0].isfinite().all():
                break
            step_done()
        if len(bad := (~values[: place + 1, :, 0].isfinite()).nonzero()):
            step, learner = bad[0].tolist()
            raise FloatingPointError(
                f"the loss of {self.names[learner]} became {values[step, learner, 0].item()} "
                f"in epoch {epoch + 1}, step {step + 1}; a lower learning rate may help"
            )
        self.networks.eval()
        return values.mean(dim=0).tolist()

    def draw_batches(self, epoch: int) -> tuple[Tensor, Views | None]:
        """The rows of every batch, [steps, N] or [steps, R, N], and the views of images."""
        size, samples = self.recipe.batch_size, len(self.labels)
        if not isinstance(self.seed, int):
            orders = [batches(seed, epoch, samples, size) for seed in self.seed]
            return torch.from_numpy(np.stack(orders, axis=1)).to(self.device), None
        rows = torch.from_numpy(batches(self.seed, epoch, samples, size)).to(self.device)
        if not self.images:
            return rows, None
        drawn = [draw_views(self.seed, epoch, step, size) for step in range(self.steps)]
        parts = (torch.stack(part).to(self.device) for part in zip(*drawn, strict=True))
        return rows, Views(*parts)

    def step(self, rows: Tensor, views: Views | None) -> Tensor:
        """One step on the samples of these rows; loss and gradient norm by name, [names, 2]."""
        inputs, labels = self.inputs[rows], self.labels[rows]
        if views is not None:
            inputs = crop_and_flip(inputs, views)
        known = self.teacher[rows] if isinstance(self.teacher, Tensor) else inputs.new_empty(0)
        return self.on_batch(inputs, labels, known)

    def update(self, inputs: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
        """One optimizer step on one batch (x, y); loss and gradient norm by name, [names, 2].

        With s_i = f(x; theta_i) the logits of student i and L_i its loss, it goes downhill on

            sum_i L_i(s_i, t, y)

        in all weights theta_1, theta_2, ... at once; theta_i occurs in the term of student i alone.
        """
        self.optimizer.zero_grad()
        if isinstance(self.teacher, nn.Module):
            with torch.no_grad():
                teacher_logits = logits_of(self.teacher, inputs, self.precision)  # t
        values, norms = [], []
        for network, loss in zip(self.networks, self.losses, strict=True):
            logits = logits_of(network, inputs, self.precision)  # s_i
            if self.device.type == "cpu" and not logits.isfinite().all():
                value = logits.sum(dim=(-2, -1))  # not finite either: losses refuse such logits
            else:
                value = loss(logits, teacher_logits, labels)  # L_i(s_i, t, y)
            value.sum().backward()
            values.append(value.detach().reshape(-1))
            norms.append(gradient_norms(network))
        self.optimizer.step()
        return torch.stack([torch.cat(values), torch.cat(norms)], dim=-1)

    def save(self, checkpoint: Path, **reached: Any) -> None:
        """Write weights, the optimizer's state, and what is reached."""
        state = {"networks": self.networks.state_dict(), "optimizer": self.optimizer.state_dict()}
        write_atomically(checkpoint, partial(torch.save, state | reached))

    def load(self, checkpoint: Path) -> tuple[int, float, History]:
        """Go back to a checkpoint if there is one; epochs done, seconds spent, and the history."""
        if not checkpoint.exists():
            return 0, 0.0, []
        saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
        self.networks.load_state_dict(saved["networks"])
        # What depends on the device stays as `make_optimizer` chose it for this one.
        groups = zip(self.optimizer.param_groups, saved["optimizer"]["param_groups"], strict=True)
        for own, group in groups:
            group |= {name: own[name] for name in ("lr", "fused", "capturable") if name in own}
        self.optimizer.load_state_dict(saved["optimizer"])
        return saved["epochs"], saved["seconds"], saved["history"]


def make_optimizer(
    networks: nn.ModuleList, rates: Sequence[float], recipe: Recipe, device: torch.device
) -> Optimizer:
    """AdamW or Nesterov's SGD, each network at its rate; fit for a CUDA graph on a GPU."""
    captured = can_capture(device)
    groups: list[dict[str, Any]] = [
        # A captured graph sees the learning rate fall only if it is a tensor.
        {"params": own.parameters(), "lr": torch.tensor(r, device=device) if captured else r}
        for own, r in zip(networks, rates, strict=True)
    ]
    common: Any = {"weight_decay": recipe.weight_decay, "fused": captured}
    if isinstance(recipe, SGDRecipe):
        return SGD(groups, momentum=recipe.momentum, nesterov=True, **common)
    return AdamW(groups, capturable=captured, **common)


def gradient_norms(network: nn.Module) -> Tensor:
    """Length of the gradient in all weights: [1], or [S] of a `Stack` of S networks."""
    apart = 1 if isinstance(network, Stack) else 0  # a stack's weights are [S, ...]
    found = [weight.grad for weight in network.parameters() if weight.grad is not None]
    parts = [torch.linalg.vector_norm(g.flatten(apart), dim=-1).reshape(-1) for g in found]
    return torch.linalg.vector_norm(torch.stack(parts), dim=0)


def batches(seed: int, epoch: int, samples: int, batch_size: int) -> np.ndarray:
    """Which samples make up each batch: int64 [steps, batch_size].

    A permutation that depends on seed and epoch alone, so there is no generator state to keep. A
    last, smaller batch is dropped.
    """
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    steps = samples // batch_size
    return order[: steps * batch_size].reshape(steps, batch_size)


def logits_of(network: nn.Module, inputs: Tensor, precision: str | None) -> Tensor:
    """Logits float32 [N, C] of float inputs [N, ...], with the network in `precision`."""
    # Mobile networks: bfloat16 triples the time of grouped convolutions on a CPU.
    grouped = any(getattr(part, "groups", 1) > 1 for part in network.modules())
    if precision != "bfloat16" or (grouped and inputs.device.type == "cpu"):
        return network(inputs)
    # Nothing is cached: weights change every step, and a captured CUDA graph allows no cache.
    with torch.autocast(inputs.device.type, torch.bfloat16, cache_enabled=False):
        return network(inputs).float()


def predict(network: nn.Module, inputs: Tensor, precision: str | None = None) -> Tensor:
    """Logits float32 [N, C], or [S, N, C] of a `Stack`, of inputs as in `Samples`.

    The network is put into evaluation mode.
    """
    network.eval()
    with torch.no_grad():
        chunks = [to_float(chunk) for chunk in inputs.split(CHUNK)]
        if isinstance(network, Stack):
            chunks = [chunk[None] for chunk in chunks]
        return torch.cat([logits_of(network, chunk, precision) for chunk in chunks], dim=-2)


def to_float(inputs: Tensor) -> Tensor:
    """Images uint8 as `normalise` gives them; other inputs as they are."""
    return normalise(inputs) if inputs.dtype == torch.uint8 else inputs


def to_device(split: Any, device: torch.device | str) -> Samples:
    """A split of arrays or tensors as `Samples` on a device."""
    return Samples(*(torch.as_tensor(part).to(device) for part in split))
