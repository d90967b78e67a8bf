"""How long a training takes to its first step, on a new machine and when it starts again."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan.bench import game, programs
from sagan.bench.timing import say
from sagan.config import ConfigError, presets
from sagan.training.goodput import FIRST_STEP


def measure(words: Sequence[str]) -> dict[str, Any]:
    """Starts `sagan train` twice with one new cache of compiled programs, empty at first.

    Args:
      words: config and overrides, as typed; with synthetic images where its data cannot be had.

    Returns: `first` and `again`, seconds from the start of the process until its first step is
      compiled and begun, and `again_over_first`.

    Raises: ConfigError if a start fails.
    """
    words = _with_data(words)
    with tempfile.TemporaryDirectory() as folder:
        # As `sagan` sets them for every verb where the environment says nothing.
        caches = {
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        }
        first, again = (_start(words, caches, Path(folder) / name) for name in ("first", "again"))
    return {"first": first, "again": again, "again_over_first": again / first}


def _with_data(words: Sequence[str]) -> list[str]:
    asked = presets.load(words[0], words[1:])
    source, config = game.open_data(asked)
    # Training, unlike what is timed here, wants as many classes as the images have.
    fits = config.model.num_classes in (None, len(source.class_names))
    if config.data.name == asked.data.name and fits:
        return list(words)
    classes = "none" if config.model.num_classes is None else "data"
    return [*words, "data.name=synthetic", "data.dir=none", f"model.num_classes={classes}"]


def _start(words: Sequence[str], caches: dict[str, str], workdir: Path) -> float:
    say(f"{workdir.name} start of {' '.join(words)}")
    command = [sys.executable, "-m", "sagan", "train", *words, "--workdir", str(workdir)]
    since, said = time.monotonic(), []
    how: dict[str, Any] = {"env": os.environ | caches, "stderr": subprocess.PIPE, "text": True}
    with programs.started(command, **how) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if FIRST_STEP in line:
                return time.monotonic() - since
            said.append(line)
        process.wait()
    raise ConfigError(
        f"a start of {' '.join(words)} ended with {process.returncode}: {''.join(said)[-2000:]}"
    )
