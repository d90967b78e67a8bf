"""Child processes of a benchmark, none of which outlives it. Imports no jax."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

_STDERR = 2  # the file descriptor, which stays even if Python's stream is replaced
_PATIENCE_SECONDS = 2.0  # for a child to end its own children, before it is killed
_running: list[subprocess.Popen] = []


@contextlib.contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """Starts a command for the length of a block; it is killed if it still runs at the end.

    Args:
      options: of `subprocess.Popen`.
    """
    with subprocess.Popen(command, **options) as process:
        _running.append(process)
        try:
            yield process
        finally:
            process.kill()
            _running.remove(process)


def run(command: Sequence[str], **options: Any) -> tuple[int, str]:
    """Runs a command to its end; returns its status, and its output if `options` capture it."""
    with started(command, text=True, **options) as process:
        printed, _ = process.communicate()
    return process.returncode, printed or ""


def run_saving(command: Sequence[str]) -> int:
    """Runs a command that saves on SIGTERM: passes that signal on, and waits until it has ended.

    What it prints goes to stderr.

    Returns: its exit status, 128 + n if signal n ended it.
    """
    process = subprocess.Popen(command, stdout=_STDERR)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return status_of(process.wait())
    except BaseException:
        process.terminate()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def status_of(returncode: int) -> int:
    """Returns the exit status that a shell shows: 128 + n where signal n ended the process."""
    return returncode if returncode >= 0 else 128 - returncode


def end_all(number: int, _: object = None) -> NoReturn:
    """Handles a signal: ends all children and then this process, with status 128 + `number`.

    Raises no exception, since one that is raised inside a callback of compiled code is lost, or
    crashes the interpreter. A benchmark has nothing to save.
    """
    for process in _running:
        process.terminate()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not all(map(_ended, _running)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for child in (*_running, *multiprocessing.active_children()):
        child.kill()
    os._exit(128 + number)


def _ended(process: subprocess.Popen) -> bool:
    """Asks the kernel, since `poll` cannot answer if the signal has interrupted a `wait`."""
    try:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, flags) is not None
    except ChildProcessError:  # it ended, and somebody has waited for it
        return True
