"""Compares one part of `sagan bench` with other programs, which take turns with it.

Taking turns exposes all programs to the same changes of the machine's speed. Each turn is a process
that starts, warms up, measures and ends, so that no two programs share the device or its memory.
Imports no jax.
"""

import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from sagan.bench import children
from sagan.bench.timing import quartiles, say
from sagan.config import ConfigError

RATE = "images_per_second"


def run(
    words: Sequence[str], commands: Sequence[str], part: str, *, rounds: int, repeats: int
) -> dict[str, Any]:
    """Takes `rounds` turns of `sagan bench WORDS` and of each command.

    Args:
      words: a config and overrides.
      commands: each prints, as its last line, a JSON object with `images_per_second`. For training
        this counts real images through the discriminator per second of whole steps.
      part: the part of `sagan bench` to compare: train, sampling or features.

    Returns: the last result of `sagan bench`, with the median rate of all turns and their
      quartiles; and `beside`, for each command its rates, and the median and quartiles of our rate
      divided by its rate.

    Raises: ConfigError if a command fails, or prints no such line.
    """
    ours = [sys.executable, "-m", "sagan", "bench", *words, "--json", "--parts", part]
    ours += ["--repeats", str(repeats)]
    our_turns, their_turns = [], [[] for _ in commands]
    for turn in range(rounds):
        say(f"turn {turn + 1} of {rounds}: sagan bench")
        our_turns.append(_result(ours, "sagan bench", (part, RATE)))
        for command, found in zip(commands, their_turns, strict=True):
            say(f"turn {turn + 1} of {rounds}: {command}")
            begin = time.monotonic()
            found.append(_result(shlex.split(command), command, (RATE,)))
            say(f"{found[-1][RATE]:,.4g} images/s, took {time.monotonic() - begin:.0f} s")
    rates = [turn[part][RATE] for turn in our_turns]
    result = dict(our_turns[-1])
    result[part] = result[part] | {
        RATE: statistics.median(rates),
        f"{RATE}_quartiles": list(quartiles(rates)[::2]),
        f"{RATE}_turns": rates,
    }
    result["beside"] = [
        _compared(command, rates, found)
        for command, found in zip(commands, their_turns, strict=True)
    ]
    return result


def _compared(command: str, ours: Sequence[float], turns: Sequence[dict[str, Any]]) -> Any:
    theirs = [turn[RATE] for turn in turns]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "command": command,
        RATE: statistics.median(theirs),
        f"{RATE}_turns": theirs,
        "ours_over_theirs": statistics.median(ratios),
        "ours_over_theirs_quartiles": list(quartiles(ratios)[::2]),
        "last": turns[-1],
    }


def _result(command: Sequence[str], name: str, keys: Sequence[str]) -> dict[str, Any]:
    """Runs a command and reads the JSON object in the last line that it prints.

    Args:
      name: of the command, for error messages.
      keys: the path to a number > 0 that the object must hold.
    """
    try:
        status, printed = children.run(command, stdout=subprocess.PIPE)
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from error
    if status:
        raise ConfigError(f"{name} ended with {status}")
    try:
        result = value = json.loads(printed.strip().splitlines()[-1])
        for key in keys:
            value = value[key]
        if not float(value) > 0:
            raise ValueError
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{name}: its last line is no JSON object with {keys[-1]}") from error
    return result
