"""Being asked to stop: SIGTERM is noticed between steps, by all processes at the same one."""

import os
import signal
import threading
from types import FrameType

import jax


class Preempted(Exception):
    """The run was asked to stop and has saved (exit 42)."""


class StopRequest:
    """Listens for SIGTERM; a second one, or Ctrl-C, ends the process at once.

    Committed checkpoints are never touched again, so ending at once loses only steps.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        # Several processes must agree on the step; JAX's own handler then does the listening.
        self._agree = jax.process_count() > 1
        if not self._agree and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._asked.is_set():
            os._exit(128 + number)
        self._asked.set()

    def reached(self, step: int) -> bool:
        """Says whether to save and stop after `step`; the same in every process."""
        if self._agree:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked.is_set()
