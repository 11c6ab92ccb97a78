"""Several processes, one run: each does its share of the jobs and learns of the others from files.

`torchrun` starts the processes, on one machine or several; all must see the same output folder. A
job (the students of a seed) is done by one process, exactly as it would be without the others. If a
process fails, `torchrun` ends the rest; should it be unable to, they give up by themselves after
`PATIENCE` seconds without a new file.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..results import records

Job = TypeVar("Job")
PATIENCE, POLL = 3 * 3600.0, 0.5  # seconds; each epoch writes a checkpoint


def is_first() -> bool:
    """Whether this process trains the teacher, gathers the rows and speaks."""
    return os.environ.get("RANK", "0") == "0"


def share(jobs: Sequence[Job]) -> Sequence[Job]:
    """The own jobs of this process; without `torchrun`, all."""
    first, step = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    return jobs[first::step]


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """As `records.claim`: the first process claims, the others compare."""
    if not is_first():
        wait_for(folder / "experiment.json")
    records.claim(folder, settings)


def wait_for(path: Path) -> None:
    """Wait until another process has written this file.

    Raises
    ------
    TimeoutError
        For `PATIENCE` seconds no file in its folder was written.
    """
    heard, last = time.monotonic(), None
    while not path.exists():
        changed = path.parent.stat().st_mtime_ns if path.parent.exists() else None
        if changed != last:
            heard, last = time.monotonic(), changed
        if time.monotonic() - heard > PATIENCE:
            raise TimeoutError(
                f"no other process wrote {path}, nor anything else beside it, for {PATIENCE:g} s"
            )
        time.sleep(POLL)
