"""How long a training takes to its first step, on a new machine and when it starts again.

`python -m sagan.bench.start SINCE CONFIG …` is one start, in a process of its own; it prints JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from sagan.bench.timing import say
from sagan.typed import ConfigError


def measure(words: Sequence[str]) -> dict[str, Any]:
    """Starts a training twice with one new cache of compiled programs, empty at first.

    Args:
      words: config and overrides, as typed.

    Returns: for each start seconds since the process began; `again_over_first` compares when the
      first step begins.

    Raises: ConfigError if a start fails.
    """
    starts = []
    with tempfile.TemporaryDirectory() as folder:
        # As `sagan` sets them for every verb where the environment says nothing.
        caches = {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        }
        for name in ("first", "again"):
            say(f"{name} start of {' '.join(words)}")
            command = [sys.executable, "-m", "sagan.bench.start", str(time.time()), *words]
            done = subprocess.run(
                command, env=os.environ | caches, stdout=subprocess.PIPE, text=True
            )
            if done.returncode:
                raise ConfigError(f"a start of {' '.join(words)} ended with {done.returncode}")
            starts.append(json.loads(done.stdout.strip().splitlines()[-1]))
    first, again = starts
    ratio = again["first_dispatch_seconds"] / first["first_dispatch_seconds"]
    return {"first": first, "again": again, "again_over_first": ratio}


def main(argv: Sequence[str]) -> None:
    """Does what `sagan train` does up to its first step, and says when each part was done."""
    since, words = float(argv[0]), list(argv[1:])
    done = {}

    def mark(name: str) -> None:
        done[name] = time.time() - since

    import jax

    from sagan import presets
    from sagan.bench.game import Game

    mark("imported_seconds")
    game = Game(presets.load(words[0], words[1:]))
    mark("data_ready_seconds")
    state = game.create()
    jax.block_until_ready(state)
    mark("state_ready_seconds")
    program = game.compile()
    step = program(state, game.pipeline.data, next(game.batches))
    mark("first_dispatch_seconds")  # compiled and begun; devices go on by themselves
    jax.block_until_ready(step)
    mark("first_step_seconds")
    print(json.dumps(done))


if __name__ == "__main__":
    main(sys.argv[1:])
