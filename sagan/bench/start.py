"""Times the start of a training until its first step, without and with cached programs."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan.bench import children
from sagan.bench.setup import words_with_data
from sagan.bench.timing import say
from sagan.config import ConfigError
from sagan.training.goodput import FIRST_STEP


def measure(words: Sequence[str]) -> dict[str, Any]:
    """Starts `sagan train` twice with one new cache of compiled programs, which is empty at first.

    Args:
      words: a config and overrides; synthetic images are used if its data is not available.

    Returns: `first` and `again`, seconds from the start of the process until the first step is
      compiled and has begun, and `again_over_first`, their ratio.

    Raises: ConfigError if a training fails.
    """
    words = words_with_data(words)
    with tempfile.TemporaryDirectory() as folder:
        # The settings that every verb of `sagan` uses unless the environment has others.
        caches = {
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        }
        first, again = (_start(words, caches, Path(folder) / name) for name in ("first", "again"))
    return {"first": first, "again": again, "again_over_first": again / first}


def _start(words: Sequence[str], caches: dict[str, str], workdir: Path) -> float:
    say(f"{workdir.name} start of {' '.join(words)}")
    command = [sys.executable, "-m", "sagan", "train", *words, "--workdir", str(workdir)]
    begin, printed = time.monotonic(), []
    options: dict[str, Any] = {"env": os.environ | caches, "stderr": subprocess.PIPE, "text": True}
    with children.started(command, **options) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if FIRST_STEP in line:
                return time.monotonic() - begin
            printed.append(line)
        process.wait()
    raise ConfigError(
        f"a start of {' '.join(words)} ended with {process.returncode}: {''.join(printed)[-2000:]}"
    )
