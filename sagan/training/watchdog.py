"""Ends a process that makes no more progress, and writes the stacks of its threads.

The heartbeats between processes miss this: a process that sleeps or waits still answers them.
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

from sagan.config import exit_codes
from sagan.parallel.processes import exit_now
from sagan.training.phase import Activity, Phase

_SLOW_FACTOR = 4  # phases that may be slow get this many times longer
_CHECKS = 20  # per `seconds`


class Watchdog:
    """Expects a `beat` every `seconds`; otherwise writes all stacks and exits with code 134.

    Use it as a context. The watchdog is a thread and needs the interpreter lock. If a call into C
    keeps that lock, the kernel's alarm ends the process `backstop_seconds` later, with stacks on
    stderr and with exit code 142, which launchers retry alike.

    Args:
      seconds: longest time without a beat; four times as long in slow phases. 0: no limit.
      step: number of steps taken so far.
      activity: what the process is doing; every change of phase counts as a beat.
      process, count: index of this process, and how many there are.
    """

    def __init__(
        self,
        workdir: Path,
        seconds: int,
        step: int,
        activity: Activity,
        process: int = 0,
        count: int = 1,
        *,
        backstop_seconds: float = 60,
    ):
        self._seconds, self._step, self._activity = seconds, step, activity
        self._backstop_seconds = backstop_seconds
        self._file = workdir / f"hang.{process}.txt"
        self._who = f"process {process} of {count} (host {socket.gethostname()}, {os.getpid()})"
        self._done = threading.Event()
        self._last = time.monotonic()
        activity.listen(self._changed)

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
        """Records that `step` steps have been taken."""
        self._step, self._last = step, time.monotonic()

    def _changed(self, before: Phase, after: Phase) -> None:
        self._last = time.monotonic()

    def _watch(self) -> None:
        tick = min(5.0, self._seconds / _CHECKS)
        before = time.monotonic()
        while not self._done.wait(tick):
            now = time.monotonic()
            if now - before > max(10 * tick, 10.0):
                # The whole process was stopped for that long, which is not a hang.
                self._last += now - before
            before = now
            factor = _SLOW_FACTOR if self._activity.phase.may_be_slow else 1
            allowed = self._seconds * factor
            if now - self._last > allowed:
                self._end(now - self._last)
            if self._alarm:
                left = self._last + allowed - now + self._backstop_seconds
                signal.setitimer(signal.ITIMER_REAL, left)

    def _end(self, seconds: float) -> None:
        head = (
            f"sagan: {self._who} has made no step for {seconds:.0f} s (guard.watchdog_seconds="
            f"{self._seconds}); it has taken {self._step} steps and is in phase "
            f"{self._activity.phase.value!r}; ending with {exit_codes.HUNG}; all stacks are in "
            f"{self._file}"
        )
        try:  # to the file first, since whoever reads stderr may be what hangs
            with self._file.open("w", encoding="utf-8") as file:
                self._write(head, file)
        except OSError:
            pass  # the work directory's disk may be what hangs; stderr has the same text
        self._write(head, sys.__stderr__ or sys.stderr)
        exit_now(exit_codes.HUNG)

    def _write(self, head: str, file: TextIO) -> None:
        file.write(head + "\n")
        file.flush()
        faulthandler.dump_traceback(file=file, all_threads=True)
        file.flush()
