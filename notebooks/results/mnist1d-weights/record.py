"""The paper's Table 6 on MNIST-1D: PLD with four kinds of weights, at temperature 2.

Makes the two files beside it, which notebook 08 reads. From the repository's root, where it goes on
after an interruption:

    python notebooks/results/mnist1d-weights/record.py

Draws, teachers and recipe are those of `pld-edu distill`. Held-out accuracy, as a mean over the
draws, picks the learning rate of each kind of weights; 0.03 is one lower than that command has.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pld_edu import losses
from pld_edu._files import write_json
from pld_edu.distill import fair
from pld_edu.distill.experiment import FAIR

HERE, WORK = Path(__file__).parent, Path("runs/mnist1d-weights")
LOSSES = {
    weights: partial(losses.pld_loss, temperature=2.0, weights=weights)
    for weights in ("teacher", "position", "uniform", "label")
}
RATES = (0.03, *FAIR.draws.learning_rates)
KEPT = ("learning_rate", "seed", "top1", "held_out_top1")


def train(
    name: str, draw: int, by_rate: Mapping[float, Sequence[str]], seeds: range
) -> list[dict[str, Any]]:
    """The rows of a draw's students: for each rate and kind of weights one for each seed."""
    path = WORK / f"{name}-{draw}.json"
    if not path.exists():
        fair.teach(FAIR, WORK, draw)
        teacher_logits = torch.load(WORK / f"teacher-{draw}.pt")["logits"]
        chosen = {rate: {w: LOSSES[w] for w in kinds} for rate, kinds in by_rate.items()}
        data, checkpoint = fair.load_draw(FAIR, draw), path.with_suffix(".checkpoint")
        found = fair.train_students(FAIR, data, teacher_logits, chosen, seeds, checkpoint)
        rows = [{"draw": draw, "weights": w} | {key: row[key] for key in KEPT} for w, row in found]
        write_json(path, rows)
    return json.loads(path.read_text())


def pick(screened: list[dict[str, Any]]) -> dict[float, list[str]]:
    """The kinds of weights by the learning rate with their best mean held-out accuracy."""
    picked: dict[float, list[str]] = {}
    for weights in LOSSES:
        means = {
            rate: np.mean(
                [
                    row["held_out_top1"]
                    for row in screened
                    if (row["weights"], row["learning_rate"]) == (weights, rate)
                ]
            )
            for rate in RATES
        }
        picked.setdefault(max(means, key=means.__getitem__), []).append(weights)
    return picked


def main() -> None:
    """Train everything and write it down."""
    torch.set_num_threads(1)
    WORK.mkdir(parents=True, exist_ok=True)
    draws, trials = range(FAIR.draws.number), FAIR.draws.trials
    screened, rows = [], []
    for draw in draws:
        first = FAIR.draws.first_seed + draw * trials
        for rate in RATES:
            seeds = range(first, first + trials)
            screened += train(f"screen-{rate:g}", draw, {rate: list(LOSSES)}, seeds)
    for draw in draws:
        seeds = range(draw * FAIR.seeds, (draw + 1) * FAIR.seeds)
        rows += train("picked", draw, pick(screened), seeds)
    for row in screened:
        del row["top1"]  # test data have no part in the screen
    write_json(HERE / "screen.json", screened)
    write_json(HERE / "rows.json", rows)


if __name__ == "__main__":
    main()
