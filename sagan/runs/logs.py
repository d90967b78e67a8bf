"""A run's logs: `metrics.jsonl`, what trackers are shown, and journals of rare events."""

import contextlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sagan.config.exit_codes import CRASH, Failure
from sagan.files.atomic import replace_text
from sagan.runs.trackers import Tracker

METRICS = "metrics.jsonl"


class LogError(Failure):
    """A line of scalars could not be written, usually because the disk is full."""

    exit_code = CRASH


class RunLog:
    """Writes scalars to `metrics.jsonl`, and them and sheets of samples to trackers.

    Opening removes what was written for later steps, so that the file of a resumed run equals
    that of an uninterrupted one. It is a context manager: everything is closed at the end of the
    block. If an exception ended the block, errors in closing are ignored.

    A tracker that fails, such as for want of a network, is named on stderr and shown nothing more,
    because a training must not end for it.

    Args:
      step: where the run continues.
      trackers: as `trackers.start` opened them.
    """

    def __init__(self, workdir: Path, step: int, trackers: Sequence[Tracker] = ()):
        self._path = workdir / METRICS
        _keep_until(self._path, step)
        self._file = self._path.open("a", encoding="utf-8")
        self._trackers = list(trackers)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one line. In JSON, a value that is not finite is null.

        Raises: LogError.
        """
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self._explained():
            self._file.write(json.dumps({"step": step, **line}) + "\n")
            self._file.flush()
        self._show(lambda tracker: tracker.scalars(step, values))

    def picture(self, step: int, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Shows a sheet of samples to the trackers."""
        self._show(lambda tracker: tracker.picture(step, picture))

    def _show(self, tell: Callable[[Tracker], None]) -> None:
        for tracker in tuple(self._trackers):
            try:
                tell(tracker)
            except Exception as error:
                self._trackers.remove(tracker)
                print(
                    f"sagan: log.trackers: {type(tracker).__name__} failed and is shown nothing "
                    f"more until the next start; {self._path} has everything: {error!r}",
                    file=sys.stderr,
                )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            folder = self._path.parent
            free = shutil.disk_usage(folder).free
            raise LogError(
                f"scalars could not be written in {folder}, where {free:,} bytes are free: {error}"
            ) from error

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind, error, trace) -> None:  # noqa: ANN001
        self._show(lambda tracker: tracker.close())
        # The exception that ended the block is more useful than an error in closing.
        with contextlib.suppress(OSError) if error else self._explained():
            self._file.close()


def read(workdir: Path) -> Iterator[dict[str, Any]]:
    """Yields the lines of `metrics.jsonl`; passes over incomplete ones. There may be no file."""
    for _, values in _lines(workdir / METRICS):
        yield values


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if isinstance(values, dict) and isinstance(values.get("step"), int):
                yield line.rstrip("\n") + "\n", values  # the last one may lack its end


def _keep_until(path: Path, step: int) -> None:
    """Removes lines of steps after `step`, and incomplete lines."""
    if path.exists():
        kept = [line for line, values in _lines(path) if values["step"] <= step]
        replace_text(path, "".join(kept))


class Journal:
    """A list of rare events, each with its step, in one JSON file.

    The file appears with the first event.

    Args:
      step: where the run continues; entries of later steps are removed.
      writes: whether this process writes the file; in others, `add` has no effect on disk.
    """

    def __init__(self, path: Path, step: int, writes: bool):
        self.path, self._writes = path, writes
        self._entries = _entries(path, step) if writes else []
        if writes and path.exists():
            self._write()

    def add(self, step: int, entry: Mapping[str, Any]) -> None:
        self._entries.append({"step": step, **entry})
        if self._writes:
            self._write()

    def _write(self) -> None:
        replace_text(self.path, json.dumps(self._entries, indent=1) + "\n")


def _entries(path: Path, step: int) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [entry for entry in found if entry["step"] <= step]
    except (OSError, ValueError, KeyError, TypeError):  # there is no file, or it is not a journal
        return []
