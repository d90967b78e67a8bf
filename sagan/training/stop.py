"""Being asked to stop: SIGTERM is noticed between steps, by all processes at the same one.

Python runs signal handlers in the main thread between instructions, so a compilation of minutes
would keep a signal waiting. Here a thread hears signals as they come. Where nothing is unsaved
(before the first step, while scoring what was saved) it ends the process at once.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import jax

from sagan.parallel.processes import exit_now

_PREEMPTED = 42
_INTERRUPT_SECONDS = 5  # for Ctrl-C to unwind as an exception; a call into C may keep it
_RELEASE_SECONDS = 2  # for giving the work directory back; its disk may be what hangs
_ONE_WISH_SECONDS = 1.0  # a whole group's SIGTERM comes again from each that passes it on
_CLOSED = 0


class Preempted(Exception):
    """The run was asked to stop and has saved (exit 42)."""


class StopRequest:
    """Listens for SIGTERM, as a context; a second wish, or Ctrl-C, ends the process at once.

    A SIGTERM within a second of the first is the same wish, heard twice.

    Committed checkpoints are never touched again, so ending at once loses only steps.

    Attributes:
      nothing_to_lose: all that was done is saved, so the first SIGTERM ends the process too (42).
      before_exit: called when the process is ended from here.
    """

    def __init__(self) -> None:
        self.nothing_to_lose = False
        self.before_exit: Callable[[], None] = lambda: None
        self._asked = threading.Event()
        self._closed = threading.Event()
        # Several processes must agree on the step; JAX's own listener does that, once it knows.
        self._agree = jax.process_count() > 1
        self._listens = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "StopRequest":
        if not self._listens:
            return self
        theirs = _handler_in_c(signal.SIGTERM) if self._agree else None
        self._inbox, self._outbox = os.pipe()
        os.set_blocking(self._outbox, False)
        self._previous_fd = signal.set_wakeup_fd(self._outbox, warn_on_full_buffer=False)
        self._previous = signal.signal(signal.SIGTERM, lambda number, frame: None)
        if theirs == _handler_in_c(signal.SIGTERM):  # Python's own: no library listens
            theirs = None
        self._tell_jax = ctypes.CFUNCTYPE(None, ctypes.c_int)(theirs) if theirs else None
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._listens:
            return
        self._closed.set()
        signal.set_wakeup_fd(self._previous_fd)
        # One that C installed is None here; nothing is left for it to do.
        signal.signal(signal.SIGTERM, self._previous or signal.SIG_DFL)
        os.write(self._outbox, bytes([_CLOSED]))
        self._thread.join()
        os.close(self._inbox)
        os.close(self._outbox)

    def _listen(self) -> None:
        first = 0.0
        while (number := os.read(self._inbox, 1)[0]) != _CLOSED:
            if number == signal.SIGINT:
                # The main thread gets a KeyboardInterrupt, unless it is in C and stays there.
                threading.Thread(target=self._end_if_stuck, args=(number,), daemon=True).start()
            elif number == signal.SIGTERM and self._asked.is_set():
                if time.monotonic() - first >= _ONE_WISH_SECONDS:
                    self._end(128 + number, "a second SIGTERM; ending at once")
            elif number == signal.SIGTERM:
                first = time.monotonic()
                self._asked.set()
                if self.nothing_to_lose:
                    self._end(_PREEMPTED, "stopped on request; nothing was unsaved")
                print("sagan: SIGTERM: saving and stopping", file=sys.stderr, flush=True)
                if self._tell_jax is not None:
                    self._tell_jax(number)

    def _end_if_stuck(self, number: int) -> None:
        if not self._closed.wait(_INTERRUPT_SECONDS):
            self._end(128 + number, "interrupted")

    def _end(self, status: int, why: str) -> None:
        print(f"sagan: {why}", file=sys.stderr, flush=True)
        release = threading.Thread(target=self.before_exit, daemon=True)
        release.start()
        release.join(_RELEASE_SECONDS)
        exit_now(status)

    def reached(self, step: int) -> bool:
        """Says whether to save and stop after `step`; the same in every process."""
        if self._agree:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked.is_set()

    def leave_if_asked(self) -> None:
        """Ends what has nothing unsaved, if this process was asked to stop.

        Raises: Preempted.
        """
        if not self._asked.is_set():
            return
        if self._agree:  # the others may not know: they cannot be met again to close anything
            self._end(_PREEMPTED, "stopped on request; nothing was unsaved")
        raise Preempted("nothing was unsaved")


def _handler_in_c(number: int) -> int | None:
    """Gives the address of a signal's handler; None where there is none."""
    get = ctypes.pythonapi.PyOS_getsig
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_int]
    address = get(number)
    return None if address in (0, signal.SIG_IGN) else address
