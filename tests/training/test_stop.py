"""Signals are listened to while a run lasts, in the main thread, and left as they were."""

import signal
import threading

from sagan.training.phase import Activity, Phase
from sagan.training.stop import StopRequest

NUMBERS = (signal.SIGTERM, signal.SIGINT)


def handlers():
    return [signal.getsignal(number) for number in NUMBERS]


def listening():
    with StopRequest(Activity(Phase.STEPPING)):
        return handlers()


def test_handlers_are_left_as_they_were():
    before = handlers()
    during = listening()
    assert all(a != b for a, b in zip(before, during, strict=True))
    assert handlers() == before


def test_another_thread_changes_no_handler():
    found = []
    thread = threading.Thread(target=lambda: found.append(listening()))
    before = handlers()
    thread.start()
    thread.join()
    assert found == [before]


def test_a_signal_that_is_ignored_stays_ignored():
    """A shell's background jobs ignore SIGINT, so that Ctrl-C ends the one in front alone."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert listening()[1] == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
