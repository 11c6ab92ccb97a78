"""Files that are either complete or not there."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a file beside `path`, then put it in its place in one step."""
    unfinished = path.with_name("unfinished-" + path.name)
    write(unfinished)
    os.replace(unfinished, path)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON; a list gets one line per entry."""
    if isinstance(content, list):
        text = "[\n" + ",\n".join(json.dumps(row) for row in content) + "\n]\n"
    else:
        text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda unfinished: unfinished.write_text(text))
