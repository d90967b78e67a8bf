"""One part of ours beside other programs, by turns, so that both meet the same machine.

Each turn is a process of its own that starts, warms up and measures itself; nothing else of ours
runs meanwhile, and no device memory is held. Imports no jax.
"""

import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from sagan.bench import programs
from sagan.bench.timing import quartiles, say
from sagan.config import ConfigError

RATE = "images_per_second"


def run(
    words: Sequence[str], commands: Sequence[str], part: str, *, rounds: int, repeats: int
) -> dict[str, Any]:
    """Takes `rounds` turns: `sagan bench WORDS`, then each command.

    Args:
      words: config and overrides, as typed.
      commands: each prints, as its last line, a JSON object with `images_per_second`; of training
        that is real images through the discriminator per second of whole iterations.
      part: of `sagan bench`, one with a rate: train, sampling, features.

    Returns: ours as `sagan bench` gives it, its rate the median of the turns; and for each command
      its rates, and ours over its, turn by turn.

    Raises: ConfigError if a command fails, or prints no such line.
    """
    ours = [sys.executable, "-m", "sagan", "bench", *words, "--json", "--parts", part]
    ours += ["--repeats", str(repeats)]
    our_turns, their_turns = [], [[] for _ in commands]
    for turn in range(rounds):
        say(f"turn {turn + 1} of {rounds}: ours")
        our_turns.append(_result(ours, "sagan bench", (part, RATE)))
        for command, found in zip(commands, their_turns, strict=True):
            say(f"turn {turn + 1} of {rounds}: {command}")
            begin = time.monotonic()
            found.append(_result(shlex.split(command), command, (RATE,)))
            say(f"{found[-1][RATE]:,.4g} images/s, took {time.monotonic() - begin:.0f} s")
    rates = [turn[part][RATE] for turn in our_turns]
    result = dict(our_turns[-1])
    result[part] = result[part] | {RATE: statistics.median(rates), f"{RATE}_turns": rates}
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
    """Runs a command and reads the last line it prints."""
    try:
        status, printed = programs.run(command, stdout=subprocess.PIPE)
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
