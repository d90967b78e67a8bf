"""Reads from a profile how long the device was idle between dispatches."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# A profile of XLA:CPU has no plane for the device; these events span its programs.
CPU_PROGRAM = "ThunkExecutor::Execute (wait for completion)"
# Lines with computations. Events of the others also span idle time (steps), or are only copies.
_COMPUTING = "XLA Modules", "Compute"

Interval = tuple[float, float]


def of_trace(folder: Path) -> dict[str, float]:
    """Reads the first device of the newest profile in `folder`.

    Returns: `busy_share`, the busy fraction of the time between its first and its last event, and
      `longest_idle_seconds`; empty if the profile has no events of a device.
    """
    from jax.profiler import ProfileData

    newest = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    intervals = device_intervals(list(ProfileData.from_file(str(newest)).planes))
    return gaps(intervals) if intervals else {}


def gaps(intervals: Iterable[Interval]) -> dict[str, float]:
    """Returns the covered fraction of the span of intervals (in seconds), and their longest gap."""
    first, *rest = sorted(intervals)
    (begin, end), busy, longest = first, first[1] - first[0], 0.0
    for low, high in rest:
        longest = max(longest, low - end)
        busy += max(0.0, high - max(low, end))
        end = max(end, high)
    return {"busy_share": busy / (end - begin), "longest_idle_seconds": longest}


def device_intervals(planes: Sequence[Any]) -> list[Interval]:
    """Returns when the first device computed, from the planes of a profile.

    On CPUs these are the programs on the host.
    """
    devices = sorted((p for p in planes if p.name.startswith("/device:")), key=lambda p: p.name)
    if devices:
        return [_seconds(event) for line in _computing(devices[0]) for event in line.events]
    return [
        _seconds(event)
        for plane in planes
        for line in plane.lines
        for event in line.events
        if event.name == CPU_PROGRAM
    ]


def _computing(device: Any) -> list[Any]:
    """Lists the lines of whole programs; if there are none, of compute streams; if none, all."""
    lines = list(device.lines)
    for name in _COMPUTING:
        chosen = [line for line in lines if name in line.name]
        if chosen:
            return chosen
    return lines


def _seconds(event: Any) -> Interval:
    return event.start_ns / 1e9, (event.start_ns + event.duration_ns) / 1e9
