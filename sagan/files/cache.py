"""The folder for everything that is computed or downloaded once and kept."""

import os
from pathlib import Path


def folder() -> Path:
    """Returns `$SAGAN_CACHE`; else `$XDG_CACHE_HOME/sagan`; else `~/.cache/sagan`.

    A variable that is empty counts as unset, and so does an `XDG_CACHE_HOME` that is not an
    absolute path, as the XDG Base Directory Specification demands.
    """
    if given := os.environ.get("SAGAN_CACHE"):
        return Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path("~/.cache").expanduser()) / "sagan"
