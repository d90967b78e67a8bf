"""Starts Python processes that need not import the package first.

A server process imports jax and the package once, and forks for each process that a test starts:
an import takes seconds, a fork milliseconds. What the fork runs is the same `python WORDS`, with
its own environment, folder, output and process number. The server never uses jax, so it has no
device and no threads when it forks.
"""

import atexit
import contextlib
import ctypes
import functools
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_SERVER = Path(__file__).with_name("fork_server.py")
_PR_SET_CHILD_SUBREAPER = 36
_NUMBERS = itertools.count()


class Process:
    """A started process. Its output goes to files, which can be read while it runs."""

    def __init__(self, words, env=None, cwd=None):
        self.args, self.returncode = [str(word) for word in words], None
        name = next(_NUMBERS)
        self._out, self._err = _folder() / f"{name}.out", _folder() / f"{name}.err"
        env = dict(os.environ if env is None else env)
        settings = tuple(sorted((k, v) for k, v in env.items() if k.startswith("JAX_")))
        message = json.dumps([self.args[1:], env, str(cwd or os.getcwd())]).encode()
        with _adopting(), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(_server(settings))
            with self._out.open("wb") as out, self._err.open("wb") as err:
                files = [out.fileno(), err.fileno()]
                socket.send_fds(connection, [len(message).to_bytes(4, "big")], files)
            connection.sendall(message)
            self.pid = int(connection.recv(20))

    @property
    def stdout(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self._err.read_text(errors="replace")

    def poll(self):
        return self._reap(os.WNOHANG)

    def wait(self, timeout=None):
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.01)
        return self.returncode

    def communicate(self, timeout=None):
        """Waits for the end; returns what was written to stdout and stderr."""
        self.wait(timeout)
        return self.stdout, self.stderr

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(15)

    def kill(self):
        self.send_signal(9)

    def _reap(self, flags):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, flags)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


@contextlib.contextmanager
def _adopting():
    """Makes the process that is forked a child of this one, once what forked it has ended.

    Not for longer: other programs, such as Slurm's, rely on init to reap what they leave behind.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def job(address, count, number) -> dict[str, str]:
    """Returns the variables of one process of a job, whose first process listens at `address`."""
    values = {"COORDINATOR": address, "NUM_PROCESSES": count, "PROCESS_ID": number}
    return {f"SAGAN_{name}": str(value) for name, value in values.items()}


def run(words, env=None, cwd=None, timeout=None) -> Process:
    """Runs a process to its end."""
    process = Process(words, env, cwd)
    try:
        process.wait(timeout)
    finally:
        process.kill()
        process.wait()
    return process


@functools.cache
def _folder() -> Path:
    """Makes a folder for sockets and output, which is removed when this process ends."""
    path = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def _server(settings) -> str:
    """Starts a server whose jax has these settings, which it reads from the environment.

    Returns: the path of its socket.
    """
    path = str(_folder() / f"{next(_NUMBERS)}.socket")
    others = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    ready, told = os.pipe()
    # The server ends when the other end of its input is closed, at the latest with this process.
    commands, _ = os.pipe()
    server = subprocess.Popen(
        [sys.executable, str(_SERVER), path, str(told)],
        env=others | dict(settings),
        pass_fds=[told],
        stdin=commands,
    )
    atexit.register(server.kill)
    for end in (told, commands):
        os.close(end)
    assert os.read(ready, 1) == b"1", "the server of processes did not start"
    os.close(ready)
    return path
