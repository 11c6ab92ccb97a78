"""The training loop, for every network, data set and recipe; it goes on where it was interrupted.

Learners see the same batches side by side, and a teacher sees each batch once for all of them. What
distinguishes the students of a seed is their loss and nothing else: weights, batches, crops and
flips are the same, and none sees another's gradient, so each ends as if it had been trained alone.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from .stopping import Stop

CHUNK = 500  # samples that `predict` looks at together
SECONDS_BETWEEN_CHECKPOINTS = 60.0  # so a killed run loses a minute, and saving costs nothing much
# What a checkpoint holds of a `Trainer` besides weights and the optimizer's state.
REACHED = ("history", "done", "values", "seconds", "training_seconds", "diverged")
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
    graphs : {"auto", "require", "off"}
        Whether steps on a GPU are captured as a CUDA graph; if that fails, "auto" warns.
    """

    def __init__(
        self,
        learners: Mapping[str, Learner],
        data: Samples,
        recipe: Recipe,
        seed: int | Sequence[int],
        teacher: nn.Module | Tensor | None = None,
        precision: str | None = None,
        graphs: str = "auto",
    ) -> None:
        self.graphs = graphs
        self.members = [learner.members or (name,) for name, learner in learners.items()]
        self.names = [name for members in self.members for name in members]
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
        self.on_batch = self.capture_or_call()
        # What is reached: lines of past epochs, steps of the one begun with their losses and
        # gradient norms, seconds with and without evaluation.
        self.history: History = []
        self.done, self.seconds, self.training_seconds = 0, 0.0, 0.0
        self.values = torch.empty(self.steps, len(self.names), 2, device=self.device)
        self.diverged: dict[str, dict[str, int]] = {}
        for loss in self.losses:
            if isinstance(loss, nn.Module):
                loss.to(self.device)

    def fit(
        self,
        checkpoint: Path,
        after_epoch: Callable[[str], dict[str, float]] | None = None,
        label: str = "",
        progress: bool = True,
        stop: Stop | None = None,
    ) -> tuple[History, float]:
        """Train to the last epoch; return the history, and all seconds spent.

        A checkpoint is written every minute, at a stop and at the end: if it exists, training goes
        on from it; a finished one is only loaded. The history has for each epoch, by name, the
        epoch (from 1), the means over its steps of the loss, `train_loss`, and of the
        `gradient_norm` in all weights, and what `after_epoch` measured, which is given a name and
        finds the networks in evaluation mode. A progress bar with this label is shown on stderr.

        A learner whose loss or gradient is no longer finite takes no more steps, and its history
        ends: `diverged` has the epoch and step of each, from 1, by name.

        Raises
        ------
        OutOfTime, KeyboardInterrupt
            `stop` asked for it; the checkpoint is written.
        """
        self.load(checkpoint)
        stop, saved = stop or Stop(), time.perf_counter()
        start, done = saved - self.seconds, len(self.history) * self.steps + self.done
        shown: Any = {"desc": label, "unit": "step", "disable": not progress, "initial": done}
        total = self.recipe.epochs * self.steps
        with tqdm(total=total, **shown) as bar, stop.listening():
            while not self.ended:
                for _ in self.take_steps():
                    bar.update()
                    now = time.perf_counter()
                    if stop.requested or now - saved > SECONDS_BETWEEN_CHECKPOINTS:
                        self.seconds, saved = now - start, now
                        self.save(checkpoint)
                        stop.check()
                self.end_epoch(after_epoch)
                if self.ended:
                    self.seconds = time.perf_counter() - start
                    self.save(checkpoint)
            stop.check()
        self.networks.eval()
        return self.history, self.seconds

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or no learner is left."""
        all_lost = len(self.diverged) == len(self.names)
        return all_lost or len(self.history) == self.recipe.epochs

    def take_steps(self) -> Iterator[None]:
        """Take the steps that are left of the epoch begun, one at a time."""
        begin, epoch = time.perf_counter(), len(self.history)
        self.networks.train()
        rows, views = self.draw_batches(epoch)
        for place in range(self.done, self.steps):
            done = (epoch * self.steps + place) / (self.recipe.epochs * self.steps)
            set_progress(self.losses, done)
            # Half a cosine: eta_i = eta_0 (1 + cos(pi i / n)) / 2 in step i of n.
            for group, first in zip(self.optimizer.param_groups, self.rates, strict=True):
                rate = first * (1 + math.cos(math.pi * done)) / 2
                now = group["lr"]
                group["lr"] = now.fill_(rate) if isinstance(now, Tensor) else rate
            batch = rows[place], views and Views(*(v[place] for v in views))
            self.values[place], self.done = self.step(*batch), place + 1
            # Elsewhere than on a CPU, looking at a value would make the device wait.
            if self.device.type == "cpu":
                self.find_diverged()
            self.training_seconds += time.perf_counter() - begin
            yield
            begin = time.perf_counter()
        self.find_diverged()
        self.training_seconds += time.perf_counter() - begin

    def find_diverged(self) -> None:
        """Note whose loss or gradient norm stopped being finite in this epoch."""
        finite = self.values[: self.done].isfinite().all(dim=-1)
        if finite.all():
            return
        for name, own in zip(self.names, finite.T.tolist(), strict=True):
            if name not in self.diverged and not all(own):
                place = {"epoch": len(self.history) + 1, "step": own.index(False) + 1}
                self.diverged[name] = place
                self.on_batch = self.capture_or_call()  # without it

    def end_epoch(self, after_epoch: Callable[[str], dict[str, float]] | None) -> None:
        """Add a line to the history for each learner that is still trained."""
        self.networks.eval()
        means = zip(self.names, self.values.mean(dim=0).tolist(), strict=True)
        epoch = len(self.history) + 1
        lines = {
            name: {"epoch": epoch, "train_loss": value, "gradient_norm": norm}
            | (after_epoch(name) if after_epoch else {})
            for name, (value, norm) in means
            if name not in self.diverged
        }
        self.history.append(lines)
        self.done = 0

    def capture_or_call(self) -> Callable[..., Tensor]:
        """What does `update`: on a GPU a graph that is still to be captured."""
        if self.graphs == "off" or not can_capture(self.device):
            return self.update
        return GraphedStep(self.update, required=self.graphs == "require")

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
        One that diverged has neither term nor step.
        """
        self.optimizer.zero_grad()
        if isinstance(self.teacher, nn.Module):
            with torch.no_grad():
                teacher_logits = logits_of(self.teacher, inputs, self.precision)  # t
        values, norms = [], []
        learners = zip(self.networks, self.losses, self.members, strict=True)
        for network, loss, members in learners:
            if self.diverged.keys() >= {*members}:
                lost = torch.full([len(members)], torch.nan, device=self.device)
                values.append(lost)
                norms.append(lost)
                continue
            logits = logits_of(network, inputs, self.precision)  # s_i
            value = finite_loss(loss, logits, teacher_logits, labels)  # L_i(s_i, t, y)
            value.sum().backward()
            values.append(value.detach().reshape(-1))
            norms.append(gradient_norms(network))
        self.optimizer.step()
        return torch.stack([torch.cat(values), torch.cat(norms)], dim=-1)

    def save(self, checkpoint: Path) -> None:
        """Write weights, the optimizer's state, and what is reached."""
        state = {"networks": self.networks.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {name: getattr(self, name) for name in REACHED}
        write_atomically(checkpoint, partial(torch.save, state))

    def load(self, checkpoint: Path) -> None:
        """Go back to a checkpoint if there is one."""
        if not checkpoint.exists():
            return
        saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
        self.networks.load_state_dict(saved["networks"])
        # What depends on the device stays as `make_optimizer` chose it for this one.
        groups = zip(self.optimizer.param_groups, saved["optimizer"]["param_groups"], strict=True)
        for own, group in groups:
            group |= {name: own[name] for name in ("lr", "fused", "capturable") if name in own}
        self.optimizer.load_state_dict(saved["optimizer"])
        for name in REACHED:
            setattr(self, name, saved[name])
        self.values = self.values.to(self.device)


def finite_loss(loss: Loss, logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """The loss; NaN for a network whose logits are not finite, since losses refuse such logits."""
    if logits.device.type != "cpu" or logits.isfinite().all():
        return loss(logits, teacher_logits, labels)
    finite = logits.isfinite().all(dim=-1).all(dim=-1)  # [], or [S] of a `Stack`
    values = loss(logits.where(finite[..., None, None], 0.0), teacher_logits, labels)
    return values.where(finite, torch.nan)


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


def predict(network: nn.Module, inputs: Tensor) -> Tensor:
    """Logits float32 [N, C], or [S, N, C] of a `Stack`, of inputs as in `Samples`.

    The arithmetic is float32, whatever the network was trained in. It is put into evaluation mode.
    """
    network.eval()
    with torch.no_grad():
        chunks = [to_float(chunk) for chunk in inputs.split(CHUNK)]
        if isinstance(network, Stack):
            chunks = [chunk[None] for chunk in chunks]
        return torch.cat([network(chunk) for chunk in chunks], dim=-2)


def to_float(inputs: Tensor) -> Tensor:
    """Images uint8 as `normalise` gives them; other inputs as they are."""
    return normalise(inputs) if inputs.dtype == torch.uint8 else inputs


def to_device(split: Any, device: torch.device | str) -> Samples:
    """A split of arrays or tensors as `Samples` on a device."""
    return Samples(*(torch.as_tensor(part).to(device) for part in split))
