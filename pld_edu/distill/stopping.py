"""When a training stops before its end: out of time, at Ctrl-C, or at a SIGTERM."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(Exception):
    """The minutes that a run was given are over; it can go on from its files."""


class Stop:
    """Asks a training to stop after the step under way, so that its checkpoint is whole.

    Parameters
    ----------
    minutes : float, optional
        From now on; without them only a signal asks.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.interrupted = False

    @property
    def requested(self) -> bool:
        """Whether to save everything, and then call `check`."""
        return self.interrupted or time.monotonic() > self.deadline

    def check(self) -> None:
        """If a stop is requested, raise its reason: KeyboardInterrupt or OutOfTime."""
        if self.interrupted:
            raise KeyboardInterrupt
        if self.requested:
            raise OutOfTime("the time is over")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Meanwhile a first Ctrl-C or SIGTERM is a request; a second one interrupts at once."""
        if threading.current_thread() is not threading.main_thread():  # the others get no signals
            yield
            return

        def ask(number: int, _: FrameType | None) -> None:
            self.interrupted = True
            signal.signal(number, before[number])

        numbers: tuple[int, ...] = signal.SIGINT, signal.SIGTERM
        before = {number: signal.getsignal(number) for number in numbers}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # some other process minds it
                signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
