"""Runs the processes of a job on this machine, passes signals on, and ends them together."""

import argparse
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO, NamedTuple

from sagan.config.arguments import positive
from sagan.config.fields import require
from sagan.launch import RETRY_CODES, Launch, Plan, sagan_command, train_arguments


class Process(NamedTuple):
    """A process to start; `name` prefixes its output, `environment` is added to this process's."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


class Supervision(NamedTuple):
    """Time limits and intervals for watching the processes, in seconds."""

    grace_seconds: float = 30.0
    max_restarts: int = 0


_DEFAULT = Supervision()

HELP = "processes on this machine"
CLOUD = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--processes", type=positive, default=1, metavar="N")
    parser.add_argument(
        "--port", type=positive, help="port of the coordinator (default: a free one)"
    )
    parser.add_argument(
        "--gpus-per-process",
        type=positive,
        metavar="N",
        help="give each process its own N GPUs (default: every process sees all)",
    )
    parser.add_argument("--evaluator", action="store_true", help="also run `sagan eval --watch`")


def plan(launch: Launch, args: argparse.Namespace) -> Plan:
    """Returns a plan with one `sagan train` per process; environment variables hold its rank."""
    port = args.port or free_port()
    ranks = [
        Process(
            str(rank),
            [*sagan_command(), *train_arguments(launch)],
            _environment(rank, args.processes, port, args.gpus_per_process),
        )
        for rank in range(args.processes)
    ]
    helpers = []
    if args.evaluator:
        helpers = [Process("eval", [*sagan_command(), "eval", launch.workdir, "--watch"], {})]
    how = Supervision(args.grace_seconds, args.max_restarts or 0)
    commands = [
        ["env", *(f"{k}={v}" for k, v in p.environment.items()), *p.command]
        for p in [*ranks, *helpers]
    ]
    return Plan({}, commands, lambda _: supervise(ranks, helpers, how, new_port=not args.port))


def _environment(rank: int, count: int, port: int, gpus: int | None) -> dict[str, str]:
    environment = {}
    if count > 1:
        environment = {
            "SAGAN_COORDINATOR": f"127.0.0.1:{port}",
            "SAGAN_NUM_PROCESSES": str(count),
            "SAGAN_PROCESS_ID": str(rank),
        }
    if gpus:
        devices = _devices(count * gpus)[rank * gpus :][:gpus]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    return environment


def _devices(wanted: int) -> list[str]:
    """Lists the GPUs that are divided among the processes: those that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return [str(number) for number in range(wanted)]
    devices = [name.strip() for name in allowed.split(",") if name.strip()]
    require(
        len(devices) >= wanted,
        f"CUDA_VISIBLE_DEVICES={allowed} names {len(devices)} GPUs; "
        f"--processes times --gpus-per-process are {wanted}",
    )
    return devices


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def supervise(
    ranks: Sequence[Process],
    helpers: Sequence[Process] = (),
    how: Supervision = _DEFAULT,
    *,
    new_port: bool = False,
) -> int:
    """Runs all processes until the ranks end, and again after an exit code in `RETRY_CODES`.

    They are restarted at most `max_restarts` times. SIGTERM and SIGINT go once to every process,
    which saves and exits; no restart follows. Helpers (an evaluator) never decide the job's end.

    Returns:
      0 if every rank returned 0, else the status of the first that did not (128 + n for signal n).
      If a rank exits with 42 (preempted), the others get `grace_seconds` to save too.
    """
    restarts = 0
    while True:
        group = _Group(ranks, helpers, how.grace_seconds)
        status = group.run()
        if status not in RETRY_CODES or group.signalled or restarts == how.max_restarts:
            return status
        restarts += 1
        _print(f"exit {status}: starting again ({restarts} of {how.max_restarts})")
        if new_port and len(ranks) > 1:  # the old port may stay in use for a minute
            address = {"SAGAN_COORDINATOR": f"127.0.0.1:{free_port()}"}
            ranks = [r._replace(environment={**r.environment, **address}) for r in ranks]


class _Group:
    """The processes of one attempt; signals that this process gets are passed on to them."""

    def __init__(self, ranks: Sequence[Process], helpers: Sequence[Process], grace: float) -> None:
        self.signalled = False
        self.grace = grace
        self.threads: list[threading.Thread] = []
        self.ranks: list[subprocess.Popen] = []
        self.helpers: list[subprocess.Popen] = []
        self.to_start = [(self.ranks, p) for p in ranks] + [(self.helpers, p) for p in helpers]

    def run(self) -> int:
        previous = {s: signal.signal(s, self._forward) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            for where, process in self.to_start:
                where.append(self._start(process))
            status = self._wait_for_ranks()
            self._end(self.helpers, self.grace if status == 0 else 0.0)
            return status
        finally:
            for child in (*self.ranks, *self.helpers):
                _kill(child)
            for thread in self.threads:
                thread.join(timeout=5)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _start(self, process: Process) -> subprocess.Popen:
        child = subprocess.Popen(
            list(process.command),
            env={**os.environ, "PYTHONUNBUFFERED": "1", **process.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Not in our process group, where Ctrl-C would reach it twice: from the terminal and us.
            start_new_session=True,
        )
        assert child.stdout
        reader = threading.Thread(target=_copy, args=(child.stdout, process.name), daemon=True)
        reader.start()
        self.threads.append(reader)
        return child

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True
        for child in (*self.ranks, *self.helpers):
            if child.poll() is None:
                child.send_signal(number)

    def _wait_for_ranks(self) -> int:
        """Returns the job's status; ends all ranks once one has failed."""
        while True:
            for child in self.ranks:
                if child.poll():  # ended, and not with 0
                    status = _status(child)
                    # After 42 (preempted) the other ranks may still be saving: let them finish.
                    if status != 42:
                        _terminate(self.ranks)
                    self._end(self.ranks, self.grace)
                    return status
            if all(child.poll() == 0 for child in self.ranks):
                return 0
            time.sleep(0.05)

    def _end(self, children: Sequence[subprocess.Popen], patience: float) -> None:
        """Waits `patience` seconds for children to end; then terminates and at last kills them."""
        if not _all_ended(children, patience):
            _terminate(children)
            if not _all_ended(children, min(self.grace, 10.0)):
                for child in children:
                    _kill(child)


def _all_ended(children: Sequence[subprocess.Popen], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(child.poll() is None for child in children):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _terminate(children: Sequence[subprocess.Popen]) -> None:
    for child in children:
        if child.poll() is None:
            child.terminate()


def _kill(child: subprocess.Popen) -> None:
    """Kills a child's whole session: a dead trainer's data workers must not outlive it."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def _status(child: subprocess.Popen) -> int:
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


_writing = threading.Lock()


def _print(text: str) -> None:
    with _writing:
        print(f"[launch] {text}", flush=True)


def _copy(stream: IO[bytes], name: str) -> None:
    with stream:
        for line in stream:
            text = line.decode(errors="replace").rstrip("\r\n").rsplit("\r", 1)[-1]
            with _writing:
                print(f"[{name}] {text}", flush=True)
