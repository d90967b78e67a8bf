"""Writes a run's logs: `metrics.jsonl`, TensorBoard events, and journals of rare events."""

import contextlib
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sagan.config.exit_codes import CRASH, Failure
from sagan.files.atomic import replace_text


class LogError(Failure):
    """A line of scalars could not be written, usually because the disk is full."""

    exit_code = CRASH


class Scalars:
    """Writes scalars to `metrics.jsonl` and as TensorBoard events.

    Opening removes what was written for later steps, so that the files of a resumed run equal
    those of an uninterrupted one. It is a context manager: the files are closed at the end of the
    block. If an exception ended the block, errors in closing are ignored.

    Args:
      step: where the run continues.
      events: sub-folder for the event files.
    """

    def __init__(self, workdir: Path, step: int, *, events: str = "events"):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._path = workdir / "metrics.jsonl"
        _keep_until(self._path, step)
        self._file = self._path.open("a", encoding="utf-8")
        self._events = EventFileWriter(str(workdir / events))
        restart = SessionLog(status=SessionLog.START)  # makes TensorBoard drop later steps
        self._events.add_event(Event(wall_time=time.time(), step=step, session_log=restart))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one line, and one event per scalar. In JSON, a value that is not finite is null.

        Raises: LogError.
        """
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self._explained():
            self._file.write(json.dumps({"step": step, **line}) + "\n")
            self._file.flush()
            write_events(self._events, step, values)

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

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(self, kind, error, trace) -> None:  # noqa: ANN001
        for close in (self._file.close, self._events.close):
            # The exception that ended the block is more useful than an error in closing.
            with contextlib.suppress(OSError) if error else self._explained():
                close()


def write_events(events, step: int, values: Mapping[str, float]) -> None:  # noqa: ANN001
    """Adds scalars to an open `EventFileWriter`."""
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore

    items = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    events.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=items)))
    events.flush()


def _keep_until(path: Path, step: int) -> None:
    """Removes lines of steps after `step`, and incomplete lines."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
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
