"""Running a loss on the cases: in this process, or in a child that may hang or crash.

`check_loss` gets a function, perhaps one that exists only in a notebook, and so calls it here: an
alarm ends a call that takes too long. The command gets a name and lets a child import and call the
loss: a child that does not answer is ended, and another one goes on with the next case.
"""

import importlib
import importlib.util
import multiprocessing
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from types import FrameType
from typing import Any

from .adapters import ADAPTERS, Adapter, Function, Result
from .cases import Case, cases

MAX_LOST = 3
DETACH_CASE = "batch-of-two"
TRIAL_CASES = ("base", "batch-of-two")  # Some losses fail for a single row.
TYPES_OF = {"torch": "torch", "jax": "jax", "jaxlib": "jax"}
SECONDS_TO_IMPORT, SECONDS_TO_CHOOSE, GRACE = 300.0, 60.0, 3.0


class TargetError(Exception):
    """The function to check could not be loaded."""


class _OutOfTime(BaseException):
    """Not an Exception, so that a loss that catches those does not swallow it."""


class _Lost(Exception):
    """A child that hangs or crashes; holds the state and a message."""


def run(loss: "Local | Child", pool: Sequence[Case]) -> dict[str, Result]:
    """One result per case, by its id; after three lost cases the rest is skipped.

    Cases with a temperature are left out if the loss takes none.
    """
    results: dict[str, Result] = {}
    lost = 0
    for case in pool:
        if "temperature" in case.flags and not loss.temperature:
            continue
        if lost < MAX_LOST:
            result = loss.call(case)
        else:
            message = f"not run: {lost} cases hung or crashed before it"
            result = Result(case.id, "skipped", message)
        lost += result.state in ("hangs", "crashes")
        results[case.id] = result
    return results


class Local:
    """A loss in this process.

    Attributes
    ----------
    framework : {"numpy", "torch", "jax"}
    temperature : bool
        Whether the loss takes one.
    """

    def __init__(
        self, fn: Function, gradient: Function | None, framework: str | None, timeout: float
    ) -> None:
        self.timeout = timeout
        self.adapter = self._choose(fn, gradient, framework)
        self.framework, self.temperature = self.adapter.framework, self.adapter.temperature

    def call(self, case: Case, adapter: Adapter | None = None) -> Result:
        """Call the loss on one case and keep whatever happens."""
        adapter = adapter or self.adapter
        started = time.perf_counter()
        try:
            with warnings.catch_warnings(), time_limit(self.timeout * adapter.patience):
                warnings.simplefilter("ignore")  # The report is one screen; odd inputs make many.
                return adapter.call(case, with_teacher=case.id == DETACH_CASE)
        except _OutOfTime:
            seconds = time.perf_counter() - started
            return Result(case.id, "hangs", f"no answer after {seconds:.1f} s")
        except Exception as error:
            text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            return Result(case.id, "raises", text[:300])

    def _choose(self, fn: Function, gradient: Function | None, framework: str | None) -> Adapter:
        """The adapter of the framework, or of the first that the loss works with.

        NumPy arrays come first: NumPy code takes them, JAX code takes them and returns an array of
        JAX, PyTorch code refuses them.
        """
        if framework:
            adapter = ADAPTERS[framework](fn, gradient)
            self._try(adapter)
            return adapter
        loaded = [name for name in ("torch", "jax") if name in sys.modules]
        trials = []
        for name in ADAPTERS:
            with suppress(ImportError):
                adapter = ADAPTERS[name](fn, gradient)
                trials.append(self._try(adapter))
                if trials[-1].state == "ok" and TYPES_OF.get(trials[-1].returned, name) != name:
                    adapter = ADAPTERS[TYPES_OF[trials[-1].returned]](fn, gradient)
                if trials[-1].state != "raises":
                    return adapter
        refused = trials[0].message.startswith(("TypeError", "AttributeError"))
        return ADAPTERS[loaded[0] if refused and loaded else "numpy"](fn, gradient)

    def _try(self, adapter: Adapter) -> Result:
        """The first answer that comes back; finds out whether a temperature is accepted."""
        for case in (c for c in cases() if c.id in TRIAL_CASES):
            result = self.call(case, adapter)
            if result.message.startswith("TypeError") and "temperature" in result.message:
                adapter.temperature = False  # It is handed on to something that knows none.
                result = self.call(case, adapter)
            if result.state == "ok":
                break
        return result


class Child:
    """A loss in a process of its own; `framework` and `temperature` are known after a call."""

    framework: str | None = None
    temperature = True

    def __init__(
        self, target: str, gradient: str | None, framework: str | None, timeout: float
    ) -> None:
        self.job = (target, gradient, framework, timeout)
        self.process: Any = None

    def call(self, case: Case) -> Result:
        """Call the loss on one case in the child, in a new one if the last was lost.

        Raises
        ------
        TargetError
            The function could not be loaded.
        """
        try:
            if self.process is None:
                self._start()
            seconds = self.job[-1] * self.patience + GRACE
            return self._answer(seconds, case)  # type: ignore[no-any-return]
        except _Lost as lost:
            self.close()
            return Result(case.id, *lost.args)

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
        self.process = context.Process(target=_serve, args=(there, *self.job), daemon=True)
        self.process.start()
        there.close()
        failure = self._answer(SECONDS_TO_IMPORT)
        if failure is not None:
            self.close()
            raise failure
        self.framework, self.temperature, self.patience = self._answer(SECONDS_TO_CHOOSE)

    def _answer(self, seconds: float, case: Case | None = None) -> Any:
        """What the child sends next, on its own or when it is given a case."""
        try:
            if case is not None:
                self.pipe.send(case)
            if self.pipe.poll(seconds):
                return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(GRACE)
            raise _Lost("crashes", _describe_exit(self.process.exitcode)) from None
        raise _Lost("hangs", f"no answer after {seconds:.0f} s; the process was ended")


def _serve(
    pipe: Connection, target: str, gradient: str | None, framework: str | None, timeout: float
) -> None:
    """The child: load the loss, choose its adapter, then answer each case with a result."""
    sys.path.insert(0, "")
    try:
        fn = load_target(target)
        slope = None if gradient is None else load_target(gradient)
    except TargetError as error:
        pipe.send(error)
        return
    pipe.send(None)
    loss = Local(fn, slope, framework, timeout)
    pipe.send((loss.framework, loss.temperature, loss.adapter.patience))
    while True:
        pipe.send(loss.call(pipe.recv()))


def load_target(target: str) -> Function:
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


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after `seconds`, where the system has alarms (Unix, main thread).

    An alarm interrupts Python code only, not what hangs inside a C extension.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(signum: int, frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process died of {signal.Signals(-code).name}"
    return f"the process ended with exit status {code}"
