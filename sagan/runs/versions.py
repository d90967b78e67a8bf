"""`versions.json`: which packages wrote the checkpoints of a work directory."""

import importlib.metadata
import json
import platform
from pathlib import Path

from sagan.files.atomic import replace_text

NAME = "versions.json"
_PACKAGES = ("sagan", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def write(workdir: Path) -> None:
    """Writes the versions that are installed on this machine."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    versions["python"] = platform.python_version()
    replace_text(workdir / NAME, json.dumps(versions, indent=2) + "\n")


def of_sagan(workdir: Path) -> str:
    """Returns the version of this package that wrote the checkpoints, or `?` if unknown."""
    try:
        return json.loads((workdir / NAME).read_text(encoding="utf-8"))["sagan"]
    except (OSError, ValueError, KeyError, TypeError):
        return "?"
