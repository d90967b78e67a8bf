"""What a profile says of the device's time: is it ever idle between two dispatches?"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# XLA:CPU has no device of its own in a profile; these span its programs.
_CPU_PROGRAM = "ThunkExecutor::Execute (wait for completion)"
# Lines of a device; others span gaps (steps) or compute nothing (copies).
_COMPUTING = "XLA Modules", "Compute"

Interval = tuple[float, float]


def of_trace(folder: Path) -> dict[str, float]:
    """Reads the first device of the newest profile in `folder`.

    Returns: `busy_share` of the time from the first to the last thing it did, and
      `longest_idle_seconds` in between; nothing if the profile has none of it.
    """
    from jax.profiler import ProfileData

    newest = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    intervals = _of_planes(list(ProfileData.from_file(str(newest)).planes))
    return gaps(intervals) if intervals else {}


def gaps(intervals: Iterable[Interval]) -> dict[str, float]:
    """Says how much of a span is covered by intervals, which may overlap; all in seconds."""
    first, *rest = sorted(intervals)
    (begin, end), busy, longest = first, first[1] - first[0], 0.0
    for low, high in rest:
        longest = max(longest, low - end)
        busy += max(0.0, high - max(low, end))
        end = max(end, high)
    return {"busy_share": busy / (end - begin), "longest_idle_seconds": longest}


def _of_planes(planes: Sequence[Any]) -> list[Interval]:
    devices = sorted((p for p in planes if p.name.startswith("/device:")), key=lambda p: p.name)
    if devices:
        return [_seconds(event) for line in _computing(devices[0]) for event in line.events]
    return [
        _seconds(event)
        for plane in planes
        for line in plane.lines
        for event in line.events
        if event.name == _CPU_PROGRAM
    ]


def _computing(device: Any) -> list[Any]:
    """Lists the lines of programs, or else of streams that compute, or else all."""
    lines = list(device.lines)
    for name in _COMPUTING:
        chosen = [line for line in lines if name in line.name]
        if chosen:
            return chosen
    return lines


def _seconds(event: Any) -> Interval:
    return event.start_ns / 1e9, (event.start_ns + event.duration_ns) / 1e9
