"""The training loop: it goes on where an interrupted run stopped."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .._files import write_atomically
from .experiment import Recipe

CHECKPOINT_EVERY = 5  # epochs


def batches(seed: int, epoch: int, samples: int, batch_size: int) -> np.ndarray:
    """Which samples make up each batch: int64 [steps, batch_size].

    A permutation that depends on seed and epoch alone, so there is no generator state to keep. A
    last, smaller batch is dropped.
    """
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    steps = samples // batch_size
    return order[: steps * batch_size].reshape(steps, batch_size)


def fit(
    model: nn.Module,
    epoch_losses: Callable[[int], Iterator[Tensor]],
    recipe: Recipe,
    steps_per_epoch: int,
    checkpoint: Path,
    *,
    after_epoch: Callable[[], dict[str, float]] | None = None,
    label: str = "",
    progress: bool = True,
) -> tuple[list[dict[str, float]], float]:
    """Train `model` by `recipe`, saving a checkpoint every few epochs and after the last.

    Parameters
    ----------
    model : nn.Module
        Trained in place.
    epoch_losses : callable
        Given the epoch (from 0), yields one scalar loss a step, computed when it is asked for.
    recipe : Recipe
    steps_per_epoch : int
    checkpoint : Path
        Written atomically. If it exists, training goes on from it; a finished one is only loaded.
    after_epoch : callable, optional
        Measures the model after an epoch; its values become a line of the history.
    label : str
        Stands before the progress bar.
    progress : bool
        Whether to show the bar, on stderr.

    Returns
    -------
    history : list of dict
        What `after_epoch` gave, with the epoch, from 1.
    seconds : float
        Time spent, earlier sittings included.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, T_max=recipe.epochs * steps_per_epoch
    )
    trained: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}

    def run_epoch(epoch: int, step_done: Callable[[], object]) -> dict[str, float]:
        model.train()
        for loss in epoch_losses(epoch):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step_done()
        model.eval()
        return {"epoch": epoch + 1} | (after_epoch() if after_epoch else {})

    found = resumable(
        run_epoch,
        recipe.epochs,
        steps_per_epoch,
        trained,
        checkpoint,
        every=CHECKPOINT_EVERY,
        label=label,
        progress=progress,
    )
    model.eval()
    return found


def resumable(
    run_epoch: Callable[[int, Callable[[], object]], Any],
    epochs: int,
    steps_per_epoch: int,
    trained: Mapping[str, Any],
    checkpoint: Path,
    *,
    every: int = 1,
    label: str = "",
    progress: bool = True,
    writes: bool = True,
) -> tuple[list[Any], float]:
    """Run every epoch that a checkpoint does not have already, and keep the checkpoint up to date.

    Parameters
    ----------
    run_epoch : callable
        Given the epoch (from 0) and a function to call after each step; what it returns becomes a
        line of the history.
    epochs, steps_per_epoch : int
    trained : mapping
        Everything that training changes: objects with `state_dict` and `load_state_dict`.
    checkpoint : Path
        Written atomically. If it exists, training goes on from it; a finished one is only loaded.
    every : int
        Epochs between checkpoints; the last epoch always has one.
    label : str
        Stands before the progress bar.
    progress : bool
        Whether to show the bar, on stderr.
    writes : bool
        Whether this process writes checkpoints: of several, one does.

    Returns
    -------
    history : list
        What `run_epoch` returned, epoch by epoch.
    seconds : float
        Time spent, earlier sittings included.
    """
    done, spent, history = 0, 0.0, []
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
        for name, part in trained.items():
            part.load_state_dict(saved[name])
        done, spent, history = saved["epochs"], saved["seconds"], saved["history"]
    start = time.perf_counter() - spent
    with tqdm(
        desc=label,
        total=epochs * steps_per_epoch,
        initial=done * steps_per_epoch,
        unit="step",
        disable=not progress,
    ) as bar:
        for epoch in range(done, epochs):
            history.append(run_epoch(epoch, bar.update))
            if (epoch + 1) % every == 0 or epoch + 1 == epochs:
                saved = {name: part.state_dict() for name, part in trained.items()}
                spent = time.perf_counter() - start
                saved |= {"epochs": epoch + 1, "seconds": spent, "history": history}
                if writes:
                    write_atomically(checkpoint, partial(torch.save, saved))
    return history, spent
