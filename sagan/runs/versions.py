"""`versions.json`: what wrote the checkpoints of a work directory: packages, commit, devices."""

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

import jax

from sagan.files.atomic import replace_text

NAME = "versions.json"
_PACKAGES = ("sagan", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_GIT_SECONDS = 10  # a slow network disk must not hold up a run


def write(workdir: Path) -> None:
    """Writes the versions that are installed on this machine, and its devices."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    versions["python"] = platform.python_version()
    if commit := _commit():
        versions["commit"] = commit
    device = jax.devices()[0]
    versions["devices"] = f"{jax.device_count()} x {device.platform}: {device.device_kind}"
    replace_text(workdir / NAME, json.dumps(versions, indent=2) + "\n")


def _commit() -> str:
    """Returns the commit of a checkout of this package; empty if it is not a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "--no-optional-locks", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS)
    except (OSError, subprocess.SubprocessError):  # there is no git
        return ""
    return done.stdout.strip()


def of_sagan(workdir: Path) -> str:
    """Returns the version of this package that wrote the checkpoints, or `?` if unknown."""
    try:
        return json.loads((workdir / NAME).read_text(encoding="utf-8"))["sagan"]
    except (OSError, ValueError, KeyError, TypeError):
        return "?"
