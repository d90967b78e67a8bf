"""Times of repeated calls: their median and spread, and a line that says what is being timed."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from sagan.files.progress import Progress, clock

_START = time.monotonic()


def say(what: str) -> None:
    """Says on stderr what comes next, and how long all has taken so far."""
    print(f"bench {clock(time.monotonic() - _START)}  {what}", file=sys.stderr, flush=True)


def times(call: Callable[[], Any], repeats: int, what: str, *, warm: bool = True) -> list[float]:
    """Seconds of each of `repeats` calls, after one that is not counted."""
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


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, quartiles, least and greatest."""
    low, _, high = quartiles(seconds)
    return {
        "seconds_median": statistics.median(seconds),
        "seconds_lower_quartile": low,
        "seconds_upper_quartile": high,
        "seconds_least": min(seconds),
        "seconds_greatest": max(seconds),
    }


def rate(images: int, seconds: Sequence[float]) -> dict[str, Any]:
    """Images per second: the median, and the quartiles of the calls."""
    low, middle, high = quartiles(seconds)
    return {
        "images_per_second": images / middle,
        "images_per_second_quartiles": [images / high, images / low],
    }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
