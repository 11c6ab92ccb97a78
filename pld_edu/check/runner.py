"""Running a loss on the cases, in this process: every case, each within its time."""

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .adapters import Adapter, adapter_for, recognise, takes_temperature
from .cases import Case, Floats

MAX_TIMEOUTS = 3
DETACH_CASE = "batch-of-two"


@dataclass(frozen=True)
class Outcome:
    """What the loss did on one case.

    `state` is "ok", "raises", "hangs", "crashes" or "skipped"; `message` says more.
    """

    id: str
    state: str = "ok"
    message: str = ""
    loss: Floats | None = None
    gradient: Floats | None = None
    gradient_error: str | None = None
    dtype: str = "float32"
    inputs_modified: bool = False
    teacher_gradient: float | None = None


@dataclass(frozen=True)
class Setup:
    """How the loss is called."""

    framework: str
    temperature: bool


class _OutOfTime(BaseException):
    """Not an Exception, so that a loss that catches those does not swallow it."""


def prepare(
    fn: Callable[..., Any],
    framework: str | None,
    gradient: Callable[..., Any] | None,
    first: Case,
    timeout: float,
) -> tuple[Setup, Adapter]:
    """Decide on the framework and whether `fn` takes a temperature, by one call if need be."""
    named = framework or recognise(fn)
    adapter = adapter_for(named, fn, gradient) if named else None
    if adapter is None:
        named, adapter = _first_that_runs(fn, gradient, first, timeout)
    assert named is not None
    temperature = takes_temperature(fn)
    if temperature:
        try:
            with time_limit(allowance(named, timeout)):
                adapter.call(first, {"temperature": 1.0})
        except TypeError as error:
            temperature = "temperature" not in str(error)
        except (Exception, _OutOfTime):
            pass  # reported case by case
    return Setup(named, temperature), adapter


def run(adapter: Adapter, setup: Setup, todo: Sequence[Case], timeout: float) -> Iterator[Outcome]:
    """One outcome a case, as they come.

    Parameters
    ----------
    adapter : Adapter
    setup : Setup
    todo : sequence of Case
    timeout : float
        Seconds a call may take. After three calls out of time the rest is skipped.
    """
    late = 0
    for case in todo:
        if late >= MAX_TIMEOUTS:
            yield Outcome(case.id, "skipped", f"not run: {late} cases were out of time before it")
            continue
        outcome = run_one(adapter, setup, case, timeout)
        late += outcome.state == "hangs"
        yield outcome


def run_one(adapter: Adapter, setup: Setup, case: Case, timeout: float) -> Outcome:
    """Call the loss on one case and keep whatever happens."""
    options = {"temperature": case.temperature} if setup.temperature else {}
    started = time.perf_counter()
    try:
        with warnings.catch_warnings(), time_limit(allowance(setup.framework, timeout)):
            warnings.simplefilter("ignore")  # The report is one screen; odd inputs make many.
            result = adapter.call(case, options)
            leak = adapter.teacher_gradient(case, options) if case.id == DETACH_CASE else None
    except _OutOfTime:
        seconds = time.perf_counter() - started
        return Outcome(case.id, "hangs", f"no answer after {seconds:.1f} s")
    except Exception as error:
        text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return Outcome(case.id, "raises", text[:300])
    return Outcome(
        case.id,
        loss=result.loss,
        gradient=result.gradient,
        gradient_error=result.gradient_error,
        dtype=result.dtype,
        inputs_modified=result.inputs_modified,
        teacher_gradient=leak,
    )


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after `seconds`, where the system has alarms (Unix, main thread).

    An alarm interrupts Python code only. What hangs inside a C extension is ended by the command,
    which runs the loss in a process of its own.
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


def allowance(framework: str, timeout: float) -> float:
    """JAX compiles each operation for each new shape, which takes seconds, not forever."""
    return timeout * 6 if framework == "jax" else timeout


def _first_that_runs(
    fn: Callable[..., Any], gradient: Callable[..., Any] | None, case: Case, timeout: float
) -> tuple[str, Adapter]:
    """For code that names no framework (methods and operators only): try them in turn."""
    for name in ("numpy", "torch", "jax"):
        try:
            adapter = adapter_for(name, fn, gradient)
            with time_limit(allowance(name, timeout)):
                adapter.call(case, {})
        except (Exception, _OutOfTime):
            continue
        return name, adapter
    return "numpy", adapter_for("numpy", fn, gradient)
