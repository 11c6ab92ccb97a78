"""Running a loss on the cases: in this process, or in a child that may hang or crash.

`check_loss` gets a function, perhaps one that exists only in a notebook, and calls it here, where
an alarm ends slow calls. The command gets a name and lets a child import and call the loss: a child
that does not answer is ended, and another one goes on with the next case.
"""

import importlib.util
import multiprocessing
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from typing import Any

from .adapters import Adapter, Function, Result, choose_adapter
from .cases import Case

Job = tuple[str, str | None, str | None, float]  # loss, gradient, framework, seconds per call
MAX_LOST = 3
SECONDS_TO_START, GRACE = 300.0, 3.0


def run(loss: "Adapter | Child", pool: Sequence[Case]) -> list[Result]:
    """One result per case; after three lost cases the rest is skipped.

    Cases with a temperature are left out if the loss takes none.
    """
    results, lost = [], 0
    for case in pool:
        if loss.temperature or "temperature" not in case.flags:
            skipped = Result(case, "skipped", f"not run: {lost} cases hung or crashed before it")
            results.append(skipped if lost >= MAX_LOST else loss.call(case))
            lost += results[-1].state in ("hangs", "crashes")
    return results


class TargetError(Exception):
    """The function to check could not be loaded."""


class _Lost(Exception):
    """A child hung or crashed; holds the state and a message."""


class Child:
    """A loss in a process of its own; `framework` and `temperature` are known after a call."""

    framework: str | None = None
    temperature = True

    def __init__(self, job: Job) -> None:
        self.job = job
        self.process: Any = None

    def call(self, case: Case) -> Result:
        """Call the loss on one case, in a new process if the last was lost.

        TargetError if the function cannot be loaded.
        """
        try:
            if self.process is None:
                self._start()
            return self._answer(self.seconds, case)  # type: ignore[no-any-return]
        except _Lost as lost:
            self.close()
            return Result(case, *lost.args)

    def close(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there, self.job), daemon=True)
        self.process.start()
        there.close()
        started = self._answer(SECONDS_TO_START)
        if isinstance(started, TargetError):
            raise started
        self.framework, self.temperature, self.seconds = started

    def _answer(self, seconds: float, case: Case | None = None) -> Any:
        """What the child sends next, on its own or for a case."""
        try:
            if case is not None:
                self.pipe.send(case)
            if self.pipe.poll(seconds):
                return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(GRACE)
            code = self.process.exitcode or 0
            end = f"ended with exit status {code}"
            end = f"died of {signal.Signals(-code).name}" if code < 0 else end
            raise _Lost("crashes", f"the process {end}") from None
        raise _Lost("hangs", f"no answer after {seconds:.0f} s; the process was ended")


def _serve(pipe: Connection, job: Job) -> None:
    """The child: load the loss, choose its adapter, then answer each case with a result."""
    target, gradient, framework, timeout = job
    sys.path.insert(0, "")
    try:
        functions = load_target(target), None if gradient is None else load_target(gradient)
    except TargetError as error:
        return pipe.send(error)
    loss = choose_adapter(*functions, framework, timeout)
    pipe.send((loss.framework, loss.temperature, timeout * loss.patience + GRACE))
    while True:
        pipe.send(loss.call(pipe.recv()))


def load_target(target: str) -> Function:
    """The function named by ``package.module:name`` or ``path/to/file.py:name``.

    A class, such as ``losses.py:PLDLoss``, is called first. TargetError if there is none.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise TargetError(
            f"{target!r} is not of the form package.module:function or path/to/file.py:function"
        )
    try:
        from_file = place.endswith(".py")
        module = _import_file(Path(place)) if from_file else importlib.import_module(place)
        found = attrgetter(name)(module)
        if isinstance(found, type):
            found = found()
    except (Exception, SystemExit) as error:
        raise TargetError(f"{target}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise TargetError(f"{target} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    sys.path.insert(0, str(path.resolve().parent))
    spec: Any = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
