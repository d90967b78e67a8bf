"""The programs that a benchmark runs: none of them outlives it. Imports no jax."""

import contextlib
import multiprocessing
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

_PATIENCE = 2.0  # seconds for a program to end its own children, before it is killed
_running: list[subprocess.Popen] = []


@contextlib.contextmanager
def started(command: Sequence[str], **how: Any) -> Iterator[subprocess.Popen]:
    """Starts a program for the length of a block; one that still runs at its end is killed.

    Args:
      how: as `subprocess.Popen` takes it.
    """
    with subprocess.Popen(command, **how) as process:
        _running.append(process)
        try:
            yield process
        finally:
            process.kill()
            _running.remove(process)


def run(command: Sequence[str], **how: Any) -> tuple[int, str]:
    """Runs a program to its end; gives its status and what it printed, if `how` catches that."""
    with started(command, text=True, **how) as process:
        printed, _ = process.communicate()
    return process.returncode, printed or ""


def end_all(number: int, _: object = None) -> NoReturn:
    """Ends the programs that run, and this process; handles a signal.

    Not by an exception: one that is raised inside a callback of compiled code is lost there, or
    ends in a crash of the interpreter on its way out. A benchmark has nothing to save.
    """
    for process in _running:
        process.terminate()
    deadline = time.monotonic() + _PATIENCE
    while not all(map(_ended, _running)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for child in (*_running, *multiprocessing.active_children()):
        child.kill()
    os._exit(128 + number)


def _ended(process: subprocess.Popen) -> bool:
    """Asks the kernel: `poll` knows nothing while the code below the handler is waiting."""
    try:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, flags) is not None
    except ChildProcessError:  # ended, and waited for
        return True
