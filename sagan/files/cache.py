"""The folder for everything that is computed or downloaded once and kept."""

import os
from pathlib import Path


def folder() -> Path:
    """Returns `$SAGAN_CACHE`, or `~/.cache/sagan` if that is unset or empty."""
    return Path(os.environ.get("SAGAN_CACHE") or "~/.cache/sagan").expanduser()
