import os
import signal
import threading
import time

import pytest

from pld_edu.distill.stopping import OutOfTime, Stop


def test_without_minutes_or_a_signal_nothing_stops():
    stop = Stop()
    assert not stop.requested
    stop.check()


def test_a_stop_is_requested_when_the_minutes_are_over(monkeypatch):
    stop = Stop(minutes=2)
    now = time.monotonic()
    for seconds, requested in ((100, False), (121, True)):
        monkeypatch.setattr(time, "monotonic", lambda late=seconds: now + late)
        assert stop.requested == requested
    with pytest.raises(OutOfTime):
        stop.check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_only_asks_and_a_second_one_is_as_before(number):
    def handler(*_):
        raise InterruptedError

    before = signal.signal(number, handler)
    try:
        stop = Stop()
        with stop.listening():
            os.kill(os.getpid(), number)
            assert stop.requested
            with pytest.raises(KeyboardInterrupt):
                stop.check()
            with pytest.raises(InterruptedError):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with (stop := Stop()).listening():
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.requested
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_only_the_main_thread_listens():
    before, found = signal.getsignal(signal.SIGINT), []

    def listen():
        with Stop().listening():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [before]
