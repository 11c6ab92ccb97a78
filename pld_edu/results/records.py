"""What a run leaves behind: rounded logits, whose folder it is, and where its numbers came from."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from .._files import write_atomically, write_json
from .methods import Setting

STORED_SEED = 0  # the seed whose test logits are kept
NO_CLASS = 255  # stands in predictions.npz where a student is not there


def round_logits(logits: np.ndarray) -> np.ndarray:
    """Logits [N, C] as they are stored: float16, each row less its mean, on a grid.

    The grid is 1/16, or finer for a network whose logits differ little: at most a 32nd of their
    std. (DIST's students may have a std of 0.003.) A logit that is not finite or does not fit into
    float16 raises FloatingPointError.
    """
    largest = np.abs(logits).max(initial=0.0)
    if not largest <= np.finfo(np.float16).max:
        raise FloatingPointError(
            f"logits must be finite and below {np.finfo(np.float16).max:g} to be stored as "
            f"float16, got {largest:g}; did the training diverge?"
        )
    centred = logits - logits.mean(axis=-1, keepdims=True, dtype=np.float64)
    spread = centred.std() if centred.any() else 2.0
    grid = 2.0 ** min(-4, math.floor(math.log2(spread / 32)))
    return (np.round(centred / grid) * grid).astype(np.float16)


def write_logits(folder: Path, name: str, logits: np.ndarray, seed: int) -> None:
    """Logits [N, C], rounded, and the seed of their network, as ``logits_NAME.npz``."""
    rounded = round_logits(logits)
    np.savez_compressed(folder / f"logits_{name}.npz", logits=rounded, seed=np.int64(seed))


def read_logits(folder: Path, name: str) -> np.ndarray:
    """The logits [N, C] of ``logits_NAME.npz``, in float64."""
    with np.load(folder / f"logits_{name}.npz") as file:
        return file["logits"].astype(np.float64)


def write_predictions(
    folder: Path, students: Iterable[tuple[Mapping[str, Any], Sequence[int]]]
) -> None:
    """Add each student's row and its predicted class for each test sample to ``predictions.npz``.

    For every setting, such as ``pld-t4``, it holds uint8 [seeds, N]; line k is that of seed k, and
    full of 255 if there is none.
    """
    path, found = folder / "predictions.npz", {}
    if path.exists():
        with np.load(path) as there:
            found = dict(there)
    for row, predicted in students:
        name, seed = Setting(row["method"], row["temperature"]).name, row["seed"]
        own = found.get(name, np.empty((0, len(predicted)), np.uint8))
        more = max(0, seed + 1 - len(own))
        found[name] = np.pad(own, ((0, more), (0, 0)), constant_values=NO_CLASS)
        found[name][seed] = predicted
    write_atomically(path, lambda unfinished: np.savez_compressed(unfinished, **found))


def read_hits(folder: Path, seeds: int) -> dict[Setting, np.ndarray]:
    """For each setting, where its students are right: [seeds, N], 1 right, 0 wrong, NaN not there.

    Empty for a run that has no ``predictions.npz``.
    """
    path = folder / "predictions.npz"
    if not path.exists():
        return {}
    labels, found = np.load(folder / "labels.npy"), {}
    with np.load(path) as predictions:
        for name in predictions:
            method, _, tau = name.partition("-t")
            own = predictions[name][:seeds]
            hits = np.full((seeds, len(labels)), np.nan)
            hits[: len(own)] = np.where(own == NO_CLASS, np.nan, own == labels)
            found[Setting(method, float(tau) if tau else None)] = hits
    return found


def provenance() -> dict[str, Any]:
    """Versions, and the git commit if this package runs from a source checkout.

    A copy without ``.git`` may be told its commit by the variable PLD_EDU_COMMIT.
    """
    import torch

    versions = {
        "pld_edu": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }
    return {"versions": versions, "commit": _commit()}


def _commit() -> str | None:
    # Only the checkout's own: an installed copy may lie inside somebody else's repository.
    own = Path(__file__).resolve().parents[2] / ".git"
    command = ["git", f"--git-dir={own}", "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("PLD_EDU_COMMIT")


def claim(folder: Path, settings: Mapping[str, Any], write: bool = True) -> None:
    """Make `folder`, and note in its ``experiment.json`` what another run there must share.

    Only `seeds` may differ; the note has the most that were asked for. If the folder holds another
    experiment, or rows without experiment.json, FileExistsError says so. `write` is whether to.
    """
    note, found = folder / "experiment.json", ""
    wanted = json.loads(json.dumps(settings))
    if note.exists():
        there = json.loads(note.read_text())
        if different := "; ".join(_differences(there, wanted | {"seeds": there.get("seeds")})):
            found = f"a run with other settings: {different}"
        elif write and wanted.get("seeds", 0) > there.get("seeds", 0):
            write_json(note, wanted)
    elif (folder / "rows.json").exists():
        found = "rows.json but no experiment.json that says how they came about"
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(note, wanted)
    if found:
        raise FileExistsError(
            f"{folder} holds {found}. Choose another --out folder, or remove that one."
        )


def _differences(
    there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    """One sentence for each setting that is not the same, recipes setting by setting."""
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name} is {old} there, {new} here"
