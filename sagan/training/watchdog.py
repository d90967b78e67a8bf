"""Ends a process that makes no step any more, and says where it stood.

Heartbeats between processes miss a hang: a process that sleeps or waits still answers them.
"""

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from sagan.parallel.processes import exit_now

_HUNG = 134
_SLOW = 4  # compiling, restoring, saving, sampling and scoring may take so many times longer
_TICKS = 20  # looks in the time allowed
_BACKSTOP_SECONDS = 60


class Watchdog:
    """Wants a `beat` every `seconds`, as a context; else all stacks are written, and exit 134.

    It is a thread, so it needs Python's global lock. Should a call into C keep that, the kernel's
    alarm ends the process a minute later, with stacks on stderr (142: a signal, retried alike).

    Args:
      seconds: allowed without a beat; four times as long while `slow`. 0: for ever.
      process: this one's index, and `count` of them.

    Attributes:
      slow: what is done now may take longer; so it is until the first beat.
    """

    def __init__(self, workdir: Path, seconds: int, step: int, process: int = 0, count: int = 1):
        self._seconds, self._step = seconds, step
        self._file = workdir / f"hang.{process}.txt"
        self._who = f"process {process} of {count} (host {socket.gethostname()}, {os.getpid()})"
        self._done = threading.Event()
        self._last = time.monotonic()
        self.slow = True

    def __enter__(self) -> "Watchdog":
        self._last = time.monotonic()
        self._alarm = self._seconds > 0 and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        if self._alarm:
            faulthandler.register(signal.SIGALRM, file=sys.__stderr__ or 2, chain=True)
        if self._seconds:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._seconds:
            self._thread.join()
        if self._alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.unregister(signal.SIGALRM)

    def beat(self, step: int) -> None:
        """Says that `step` is behind us."""
        self._step, self._last = step, time.monotonic()

    def _watch(self) -> None:
        tick = min(5.0, self._seconds / _TICKS)
        before = time.monotonic()
        while not self._done.wait(tick):
            now = time.monotonic()
            if now - before > max(10 * tick, 10.0):  # the whole process stood still: not a hang
                self._last += now - before
            before = now
            allowed = self._seconds * (_SLOW if self.slow else 1)
            if now - self._last > allowed:
                self._bark(now - self._last)
            if self._alarm:
                left = self._last + allowed - now + _BACKSTOP_SECONDS
                signal.setitimer(signal.ITIMER_REAL, left)

    def _bark(self, seconds: float) -> None:
        head = (
            f"sagan: {self._who} has made no step for {seconds:.0f} s (guard.watchdog_seconds="
            f"{self._seconds}); the last was {self._step}; ending with {_HUNG}; stacks are in "
            f"{self._file}"
        )
        try:  # first to the file: whoever reads stderr may be what hangs
            with self._file.open("w", encoding="utf-8") as file:
                self._write(head, file)
        except OSError:
            pass
        self._write(head, sys.__stderr__ or sys.stderr)
        exit_now(_HUNG)

    def _write(self, head: str, file: TextIO) -> None:
        file.write(head + "\n")
        file.flush()
        faulthandler.dump_traceback(file=file, all_threads=True)
        file.flush()
