"""What a run says: a live progress line, `metrics.jsonl`, TensorBoard events, journals."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

_REWRITE_SECONDS = 0.2  # on a terminal
_LINE_SECONDS = 10.0  # elsewhere, one line each


class Progress:
    """One line with count, rate and time left; rewritten on a terminal, repeated in a log.

    Args:
      label: what is being done.
      total, done: in `unit`; the rate counts from `done`.
      enabled: other processes than the first stay silent.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        done: int = 0,
        unit: str = "images",
        enabled: bool = True,
        stream: TextIO | None = None,
    ):
        self._label, self._total, self._unit = label, total, unit
        self._first, self._start, self._shown = done, time.monotonic(), 0.0
        self._stream = stream or sys.stderr
        self._enabled = enabled
        self._rewrites = self._stream.isatty()

    def update(self, done: int, detail: str = "") -> None:
        """Shows `done` of the total; calls in quick succession are not all shown."""
        now = time.monotonic()
        interval = _REWRITE_SECONDS if self._rewrites else _LINE_SECONDS
        if not self._enabled or (now - self._shown < interval and done < self._total):
            return
        self._shown = now
        rate = (done - self._first) / max(now - self._start, 1e-9)
        left = clock((self._total - done) / rate) if rate > 0 else "?"
        text = (
            f"{self._label} {done:,}/{self._total:,} {self._unit}  {_short(rate)}/s  "
            f"{clock(now - self._start)} elapsed, {left} left"
        )
        text += f"  {detail}" if detail else ""
        if self._rewrites:
            columns = os.get_terminal_size(self._stream.fileno()).columns
            text = "\r" + text[: columns - 1].ljust(columns - 1)
        self._stream.write(text if self._rewrites else text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Leaves the line where it is, so that what follows starts on a new one."""
        if self._enabled and self._rewrites and self._shown:
            self._stream.write("\n")
            self._stream.flush()


def clock(seconds: float) -> str:
    """Writes a duration as 0:07, 12:34 or 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


class Scalars:
    """Writes scalars to `metrics.jsonl` and as TensorBoard events.

    Opening at a step that was reached before drops what was written after it: a resumed run's
    files are those of an uninterrupted one.

    Args:
      workdir: of the run.
      step: the run continues from here; lines of later steps are removed.
      events: a sub-folder for the event files, so that several writers do not collide.
    """

    def __init__(self, workdir: Path, step: int, *, events: str = "events"):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._path = workdir / "metrics.jsonl"
        _keep_until(self._path, step)
        self._file = self._path.open("a", encoding="utf-8")
        self._events = EventFileWriter(str(workdir / events))
        restart = SessionLog(status=SessionLog.START)  # tells TensorBoard to drop later steps
        self._events.add_event(Event(wall_time=time.time(), step=step, session_log=restart))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one line, and one event per scalar; JSON has null for what is not finite."""
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **line}) + "\n")
        self._file.flush()
        write_events(self._events, step, values)

    def close(self) -> None:
        self._file.close()
        self._events.close()


def write_events(events, step: int, values: Mapping[str, float]) -> None:  # noqa: ANN001
    """Adds scalars to an open `EventFileWriter`."""
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore

    items = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    events.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=items)))
    events.flush()


def _keep_until(path: Path, step: int) -> None:
    """Removes lines of steps after `step`, and a last line that was cut short."""
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
    """Lists rare events, each with its step, in one JSON file; there is none without events.

    Args:
      step: the run goes on from here; what an earlier process wrote of later steps is dropped.
      writes: whether this process keeps the file; others only call.
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
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or not ours
        return []


def replace_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
