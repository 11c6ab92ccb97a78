"""Running a loss in a process of its own, so that a hang or a crash is a finding, not the end."""

import importlib
import importlib.util
import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from typing import Any

from .cases import Case
from .runner import MAX_TIMEOUTS, Outcome, Setup, allowance, prepare, run

SECONDS_TO_IMPORT = 300.0
GRACE = 3.0


class TargetError(Exception):
    """The function to check could not be had."""


@dataclass(frozen=True)
class Job:
    """What the process needs to know."""

    target: str
    gradient: str | None
    framework: str | None
    timeout: float


@dataclass
class Run:
    """What came of it: `setup` is None if no call was ever prepared."""

    setup: Setup | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)


def load_target(target: str) -> Callable[..., Any]:
    """The function named by ``package.module:name`` or ``path/to/file.py:name``.

    A class is called without arguments first, so that a module such as ``losses.py:PLDLoss`` works.

    Raises
    ------
    TargetError
        With the reason in words.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise TargetError(
            f"{target!r} is not of the form package.module:function or path/to/file.py:function"
        )
    try:
        module = (
            _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        )
        found = attrgetter(name)(module)
        if isinstance(found, type):
            found = found()
    except (Exception, SystemExit) as error:
        raise TargetError(f"{target}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise TargetError(f"{target} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def run_isolated(job: Job, pool: Sequence[Case]) -> Run:
    """Run every case in a child; where it hangs or dies, note that and go on with a new one.

    Raises
    ------
    TargetError
        The function could not be loaded.
    """
    result, todo, lost = Run(), list(pool), 0
    while todo and lost < MAX_TIMEOUTS:
        failure = _one_process(job, todo, result)
        todo = [c for c in todo if c.id not in result.outcomes]
        if result.setup and not result.setup.temperature:
            todo = [c for c in todo if "temperature" not in c.flags]
        if failure is not None and todo:
            state, message = failure
            result.outcomes[todo[0].id] = Outcome(todo[0].id, state, message)
            todo, lost = todo[1:], lost + 1
    for case in todo:
        message = f"not run: {lost} processes were lost before it"
        result.outcomes[case.id] = Outcome(case.id, "skipped", message)
    return result


def _one_process(job: Job, todo: Sequence[Case], result: Run) -> tuple[str, str] | None:
    """Collect outcomes until the child is done; how it was lost, if it was."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(job, todo, there), daemon=True)
    child.start()
    there.close()
    patience = SECONDS_TO_IMPORT
    try:
        while True:
            if not here.poll(patience):
                return "hangs", f"no answer after {patience:.0f} s; the process was ended"
            message = here.recv()
            if message is None:
                return None
            if isinstance(message, TargetError):
                raise message
            if isinstance(message, Setup):
                result.setup = message
                patience = allowance(message.framework, job.timeout) + GRACE
            elif isinstance(message, Outcome):
                result.outcomes[message.id] = message
            else:
                patience = allowance("jax", job.timeout) * 2 + GRACE
    except EOFError:
        child.join(GRACE)
        return "crashes", _death(child.exitcode)
    finally:
        child.kill()
        child.join()
        here.close()


def _work(job: Job, todo: Sequence[Case], pipe: Connection) -> None:
    """The child: load, prepare, run; None says that all is done."""
    sys.path.insert(0, "")
    try:
        fn = load_target(job.target)
        gradient = None if job.gradient is None else load_target(job.gradient)
    except TargetError as error:
        pipe.send(error)
        return
    pipe.send("loaded")
    setup, adapter = prepare(fn, job.framework, gradient, todo[0], job.timeout)
    pipe.send(setup)
    wanted = [c for c in todo if setup.temperature or "temperature" not in c.flags]
    for outcome in run(adapter, setup, wanted, job.timeout):
        pipe.send(outcome)
    pipe.send(None)


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    sys.path.insert(0, str(path.resolve().parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process died of {signal.Signals(-code).name}"
    return f"the process ended with exit status {code}"
