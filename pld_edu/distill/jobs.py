"""Several processes, one run: each does its share of the jobs and learns of the others from files.

`torchrun` starts the processes, on one machine or several; all must see the same output folder. A
job (the students of a seed) is done by one process, as it would be without the others. If one
fails, `torchrun` ends the rest.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..results import records

POLL = 0.5  # seconds between looks at the folder


def is_first() -> bool:
    """Whether this process trains the teacher, gathers the rows and speaks."""
    return os.environ.get("RANK", "0") == "0"


def share(jobs: Sequence[list[int]]) -> Sequence[list[int]]:
    """The own jobs of this process; without `torchrun`, all."""
    first, step = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    return jobs[first::step]


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """As `records.claim`: the first process claims, the others compare."""
    if not is_first():
        wait_for(folder / "experiment.json")
    records.claim(folder, settings, write=is_first())


def wait_for(path: Path) -> None:
    """Wait until another process has written this file."""
    wait_until(path.exists)


def wait_until(done: Callable[[], bool]) -> None:
    """Wait until the other processes have done something."""
    while not done():
        time.sleep(POLL)
