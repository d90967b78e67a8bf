"""Requests to stop: SIGTERM or Ctrl-C, noticed between steps, by all processes at the same step.

Python runs signal handlers in the main thread between instructions, so a compilation of minutes
would keep a signal waiting. A thread therefore reads signals as they come. Where nothing is
unsaved, it ends the process at once.
"""

import ctypes
import os
import signal
import sys
import threading
import time

import jax

from sagan.config import exit_codes
from sagan.config.exit_codes import Failure
from sagan.parallel.processes import exit_now
from sagan.training.phase import Activity

_DUPLICATE_SIGNAL_SECONDS = 1.0  # a parent that got the same signal may pass it on
_CLOSED = 0
_NAMES: dict[int, str] = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class Preempted(Failure):
    """The run was asked to stop and has saved."""

    exit_code = exit_codes.PREEMPTED


class StopRequest:
    """Listens for SIGTERM and SIGINT (Ctrl-C) while used as a context; both mean the same.

    The first one asks to save and stop. A second one ends the process at once, with 128 + its
    number. One that comes within a second of the first counts as the same request. Committed
    checkpoints are never changed, so ending at once loses the steps since the last save and nothing
    else. A signal that this process ignores, as a shell's background jobs ignore SIGINT, stays
    ignored.

    Args:
      activity: if its phase has nothing to lose, even the first signal exits at once, with 42.
      listens: False: leave signals alone. Only the main thread of a process can listen.
    """

    def __init__(self, activity: Activity, *, listens: bool = True):
        self._activity = activity
        self._asked = threading.Event()
        # Several processes must agree on the step to stop at. JAX's own listener does that, once
        # it knows of the signal.
        self._agree = jax.process_count() > 1
        self._listens = listens and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "StopRequest":
        if not self._listens:
            return self
        theirs = _handler_in_c(signal.SIGTERM) if self._agree else None
        self._inbox, self._outbox = os.pipe()
        os.set_blocking(self._outbox, False)
        self._previous_fd = signal.set_wakeup_fd(self._outbox, warn_on_full_buffer=False)
        self._previous = {
            number: signal.signal(number, lambda number, frame: None)
            for number in _NAMES
            if signal.getsignal(number) != signal.SIG_IGN
        }
        if theirs == _handler_in_c(signal.SIGTERM):  # it was Python's own: no library listens
            theirs = None
        self._tell_jax = ctypes.CFUNCTYPE(None, ctypes.c_int)(theirs) if theirs else None
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._listens:
            return
        signal.set_wakeup_fd(self._previous_fd)
        for number, handler in self._previous.items():
            # A handler that C installed is None here, and is not needed any more.
            signal.signal(number, handler or signal.SIG_DFL)
        os.write(self._outbox, bytes([_CLOSED]))
        self._thread.join()
        os.close(self._inbox)
        os.close(self._outbox)

    def _listen(self) -> None:
        first = 0.0
        while (number := os.read(self._inbox, 1)[0]) != _CLOSED:
            if number not in _NAMES:
                continue
            if self._asked.is_set():
                if time.monotonic() - first >= _DUPLICATE_SIGNAL_SECONDS:
                    self._end(128 + number, f"a second request, {_NAMES[number]}; ending at once")
                continue
            first = time.monotonic()
            self._asked.set()
            if self._activity.phase.has_nothing_to_lose:
                self._end(exit_codes.PREEMPTED, "stopped on request; nothing was unsaved")
            text = f"sagan: {_NAMES[number]}: saving and stopping; a second one ends at once"
            print(text, file=sys.stderr, flush=True)
            if self._tell_jax is not None:
                self._tell_jax(signal.SIGTERM)

    def _end(self, status: int, why: str) -> None:
        print(f"sagan: {why}", file=sys.stderr, flush=True)
        exit_now(status)

    def reached(self, step: int) -> bool:
        """Returns whether to save and stop after `step`; the same in every process."""
        if self._agree:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked.is_set()

    def end_if_asked(self) -> None:
        """Ends this process if it was asked to stop; called where everything is saved.

        Raises: Preempted.
        """
        if not self._asked.is_set():
            return
        if self._agree:
            # The other processes may not know yet, and would wait for this one while closing.
            self._end(exit_codes.PREEMPTED, "stopped on request; nothing was unsaved")
        raise Preempted("nothing was unsaved")


def _handler_in_c(number: int) -> int | None:
    """Returns the address of a signal's handler; None if there is none, or it cannot be known.

    JAX installs a handler in C, which Python's `signal` module cannot see. `PyOS_getsig` is part
    of Python's C interface but not of its documentation; without it, the handler is not called,
    and several processes then stop at different steps.
    """
    get = getattr(ctypes.pythonapi, "PyOS_getsig", None)
    if get is None:
        return None
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_int]
    address = get(number)
    return None if address in (0, signal.SIG_IGN) else address
