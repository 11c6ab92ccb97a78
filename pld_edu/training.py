"""One training loop for teacher and students; it goes on where an interrupted run stopped."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .experiments import Recipe

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
    done, spent, history = 0, 0.0, []
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, part in trained.items():
            part.load_state_dict(saved[name])
        done, spent, history = saved["epochs"], saved["seconds"], saved["history"]
    start = time.perf_counter() - spent
    bar = tqdm(range(done, recipe.epochs), label, recipe.epochs, initial=done, disable=not progress)
    for epoch in bar:
        model.train()
        for loss in epoch_losses(epoch):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        history.append({"epoch": epoch + 1} | (after_epoch() if after_epoch else {}))
        if (epoch + 1) % CHECKPOINT_EVERY == 0 or epoch + 1 == recipe.epochs:
            saved = {name: part.state_dict() for name, part in trained.items()}
            spent = time.perf_counter() - start
            saved |= {"epochs": epoch + 1, "seconds": spent, "history": history}
            write_atomically(checkpoint, partial(torch.save, saved))
    model.eval()
    return history, spent


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a file beside `path`, then put it in its place in one step."""
    unfinished = path.with_name("unfinished-" + path.name)
    write(unfinished)
    os.replace(unfinished, path)
