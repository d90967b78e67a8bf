"""A progress line with count, rate and time left."""

import os
import sys
import time
from typing import TextIO

_REWRITE_SECONDS = 0.2  # on a terminal
_LINE_SECONDS = 10.0  # elsewhere, one line each


class Progress:
    """A line with count, rate and time left: rewritten on a terminal, repeated in a log.

    Args:
      label: what is being done.
      total, done: counted in `unit`; the rate counts from `done`.
      enabled: False in all processes but the first.
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
        """Shows `done` of the total, unless the line was updated a moment ago."""
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
        """Ends the line, so that later output starts on a new one."""
        if self._enabled and self._rewrites and self._shown:
            self._stream.write("\n")
            self._stream.flush()


def clock(seconds: float) -> str:
    """Returns a duration as 0:07, 12:34 or 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
