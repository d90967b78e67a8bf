"""Times repeated calls and summarises the times. Imports no jax."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from sagan.files.progress import Progress, clock

_START = time.monotonic()


def say(what: str) -> None:
    """Prints on stderr what is measured next, and the time since the start of the benchmark."""
    print(f"bench {clock(time.monotonic() - _START)}  {what}", file=sys.stderr, flush=True)


def times(call: Callable[[], Any], repeats: int, what: str, *, warm: bool = True) -> list[float]:
    """Returns the seconds of each of `repeats` calls, after one that is not timed if `warm`."""
    if warm:
        call()
    progress = Progress(what, repeats, unit="calls")
    found = []
    for number in range(repeats):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
        progress.update(number + 1)
    progress.close()
    return found


def turns(
    ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int, what: str
) -> tuple[list[float], list[float]]:
    """Returns the seconds of `repeats` calls of each, made in turns, after one that is not timed.

    Every second pair begins with `theirs`, so that neither has an advantage.
    """
    ours()
    theirs()
    progress = Progress(what, repeats, unit="pairs")
    found: tuple[list[float], list[float]] = [], []
    for number in range(repeats):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            begin = time.perf_counter()
            (ours, theirs)[which]()
            found[which].append(time.perf_counter() - begin)
        progress.update(number + 1)
    progress.close()
    return found


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Returns the median, the quartiles, the least and the greatest of some times."""
    low, _, high = quartiles(seconds)
    return {
        "seconds_median": statistics.median(seconds),
        "seconds_lower_quartile": low,
        "seconds_upper_quartile": high,
        "seconds_least": min(seconds),
        "seconds_greatest": max(seconds),
    }


def rate(images: int, seconds: Sequence[float]) -> dict[str, Any]:
    """Returns images per second at the median and at the quartiles of the times."""
    low, middle, high = quartiles(seconds)
    return {
        "images_per_second": images / middle,
        "images_per_second_quartiles": [images / high, images / low],
    }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the lower quartile, the median and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
