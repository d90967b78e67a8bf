"""Checks, times, trains and scores on one GPU, in one folder: `sagan bench --suite DIR`.

Every step is a command in a process of its own; this process imports no jax and holds no device.
The same command again resumes: a step that has a result, or has failed, is not repeated, and a
training goes on until its time is used up. `README.md` in the folder shows all results. To try a
failed step again, remove its `*.failed` file.
"""

import contextlib
import importlib.metadata
import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from sagan.bench import children, suite_page
from sagan.bench.stages import Settings, Stages, Step, Training
from sagan.bench.timing import say
from sagan.config import exit_codes
from sagan.config.fields import require
from sagan.files.atomic import replace_text

LIMIT_SECONDS = 86_400
_SEES_GPU = "import sys, jax; sys.exit(jax.default_backend() == 'cpu')"


class _OutOfTime(Exception):
    """The limit is reached, or somebody asked this process to stop."""


def run(
    folder: Path,
    settings: Settings,
    overrides: Sequence[str],
    *,
    stages: Sequence[str],
    limit_seconds: float,
    dry_run: bool,
) -> int:
    """Runs the stages, and writes a page about everything in `folder`.

    Args:
      overrides: changes to the config of every stage.
      limit_seconds: time for all stages. When a twentieth is left, the running step is asked to
        stop, and it is killed if it has not stopped after its grace time.
      dry_run: only print the commands.

    Returns: DONE; CRASH if a step failed or differs, now or earlier; PREEMPTED if the limit or a
      SIGTERM came first, and the same command resumes.

    Raises: ConfigError if jax sees no GPU although `settings.device` is not cpu.
    """
    if not dry_run:
        _require_gpu(settings.device)
        (folder / "log").mkdir(parents=True, exist_ok=True)
    commands = Stages(folder, settings, overrides, dry_run)
    runner = _Runner(folder, limit_seconds)
    with runner.listening():
        try:
            for stage in stages:
                for step in getattr(commands, stage)():
                    if dry_run:
                        print(f"{shlex.join(step.command)} > {folder / step.name}")
                    elif isinstance(step, Training):
                        runner.train(step, settings.train_seconds)
                    else:
                        runner.result(step)
        except _OutOfTime as error:
            say(f"{error}; the same command resumes")
            _report(folder)
            return exit_codes.PREEMPTED
    return exit_codes.DONE if dry_run else _report(folder)


def _require_gpu(device: str) -> None:
    if device != "cpu":
        status, _ = children.run([sys.executable, "-c", _SEES_GPU])
        require(status == 0, "jax sees no GPU; with suite.device=cpu the CPU is measured")


class _Runner:
    """Runs steps until the limit, or until SIGTERM or SIGINT."""

    def __init__(self, folder: Path, limit_seconds: float):
        self._folder, self._limit = folder, limit_seconds
        self._end = time.monotonic() + limit_seconds
        self._margin = limit_seconds / 20  # for saving and for the page
        self._stopped = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        def stop(*_: object) -> None:
            self._stopped = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def result(self, step: Step) -> None:
        """Runs a step once; its output becomes a file, or a `*.failed` file.

        Raises: _OutOfTime
        """
        path = self._folder / step.name
        part, failed = (path.with_name(f"{path.name}.{end}") for end in ("part", "failed"))
        if path.exists() or failed.exists():
            return
        say(str(path))
        status = self._finish(step, part, self._time_left())
        stopped = status in (exit_codes.PREEMPTED, 128 + signal.SIGTERM)
        # A process may also crash when it is asked to stop.
        if stopped or (status >= 128 and self._time_left(check=False) <= 0):
            raise self._out_of_time()
        if status == 0 or (status == 1 and step.answers and part.stat().st_size):
            part.replace(path)
        else:
            part.replace(failed)
            say(f"{step.name}: failed with {status}, see {self._folder / 'log'}")

    def train(self, training: Training, budget_seconds: float) -> None:
        """Trains until `budget_seconds` are spent, in this call and earlier ones.

        Raises: _OutOfTime
        """
        place = self._folder / training.name
        out, done, failed, spent_file = (
            place.with_name(f"{place.name}.{end}") for end in ("out", "done", "failed", "seconds")
        )
        while not (done.exists() or failed.exists()):
            spent = float(spent_file.read_text()) if spent_file.exists() else 0.0
            seconds = budget_seconds - spent
            if seconds <= 0:
                done.touch()
                return
            left = self._time_left()
            if left < seconds and left <= self._margin:
                raise self._out_of_time()
            seconds = min(seconds, left)
            say(f"training {training.name} for {seconds:.0f} of {budget_seconds - spent:.0f} s")
            begin = time.monotonic()
            status = self._finish(training, out, seconds)
            spent_file.write_text(f"{spent + time.monotonic() - begin:.1f}\n")
            killed = status >= 128 and self._time_left(check=False) <= 0  # while it saved
            if status == 0:
                done.touch()
            elif not killed and status not in (exit_codes.PREEMPTED, 128 + signal.SIGTERM):
                out.replace(failed)
                say(f"training {training.name} failed with {status}, see {self._folder / 'log'}")

    def _time_left(self, *, check: bool = True) -> float:
        """Returns the seconds that a step may take.

        Raises: _OutOfTime if there are none, and `check`.
        """
        left = 0.0 if self._stopped else self._end - time.monotonic() - self._margin
        if check and left <= 0:
            raise self._out_of_time()
        return left

    def _out_of_time(self) -> _OutOfTime:
        return _OutOfTime("stopped" if self._stopped else f"--limit {self._limit:g} is reached")

    def _finish(self, step: Step | Training, output: Path, seconds: float) -> int:
        """Runs a command for at most `seconds`; returns its status.

        If this process is asked to stop and the command fails, the status is PREEMPTED.
        """
        log = self._folder / "log" / f"{step.name}.txt"
        with output.open("wb") as file, log.open("ab") as log_file:
            # In a session of its own, so that a signal for this process's group reaches it once,
            # from here: for a training the second SIGTERM is an order to end without saving.
            process = subprocess.Popen(
                step.command, stdout=file, stderr=subprocess.PIPE, start_new_session=True
            )
            assert process.stderr
            reader = threading.Thread(target=_copy, args=(process.stderr, log_file), daemon=True)
            reader.start()
            try:
                status = children.status_of(self._wait(process, seconds, step.grace_seconds))
            finally:
                _kill(process)
                reader.join(timeout=5)
        return exit_codes.PREEMPTED if self._stopped and status else status

    def _wait(self, process: subprocess.Popen, seconds: float, grace_seconds: float) -> int:
        end, asked = time.monotonic() + seconds, False
        while True:
            try:
                return process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            if asked and now > end:
                _kill(process)
            elif not asked and (self._stopped or now > end):
                process.terminate()
                end, asked = now + grace_seconds, True


def _kill(process: subprocess.Popen) -> None:
    """Kills what is left of a command, its own children included."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _copy(stream: IO[bytes], log: IO[bytes]) -> None:
    for line in stream:
        log.write(line)
        log.flush()
        sys.stderr.write(line.decode(errors="replace"))
        sys.stderr.flush()


def _report(folder: Path) -> int:
    """Writes the page; returns CRASH if something failed or differs."""
    machines = folder / "machine.txt"
    lines = machines.read_text().splitlines() if machines.exists() else []
    if (line := _machine()) not in lines:
        replace_text(machines, "\n".join([*lines, line]) + "\n")
    text, wrong = suite_page.page(folder)
    replace_text(folder / "README.md", text)
    print(folder / "README.md")
    return exit_codes.CRASH if wrong else exit_codes.DONE


def _machine() -> str:
    """Describes code, hardware and versions."""
    describe = ["describe", "--always", "--dirty", "--abbrev=12"]
    commit = _output(["git", "-C", str(Path(__file__).parent), *describe]) or "unknown"
    gpu = _output(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    cpu = _output(["sed", "-n", "s/^model name.*: //p", "/proc/cpuinfo"]).partition("\n")[0]
    jax = importlib.metadata.version("jax")
    return (
        f"commit {commit}; {gpu or 'no GPU'}; {os.cpu_count()} x {cpu or platform.machine()}; "
        f"jax {jax}, Python {platform.python_version()}"
    )


def _output(command: Sequence[str]) -> str:
    try:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        status, printed = children.run(command, **options)
    except OSError:  # not installed
        return ""
    return printed.strip() if status == 0 else ""
