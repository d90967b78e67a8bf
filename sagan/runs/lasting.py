"""Arrays that a run keeps for good, beside its checkpoints: `averages/STEP.safetensors`.

Checkpoints are removed as a training goes on, but averages of any width are made from those of all
steps (see `sagan.tasks.gan.power_average`). They are stored as float16, at half the size.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sagan.files.atomic import replacing
from sagan.runs.checkpoint import CheckpointError, SaveError

FOLDER = "averages"
_SUFFIX = ".safetensors"


def write(workdir: Path, step: int, arrays: Mapping[str, ArrayLike]) -> None:
    """Writes the arrays of a step, whole or not at all; one process of a job calls it.

    Raises: SaveError if the file could not be written.
    """
    from safetensors.numpy import save

    path = workdir / FOLDER / f"{step}{_SUFFIX}"
    try:
        with replacing(path) as file:
            file.write(save({name: np.asarray(x, np.float16) for name, x in arrays.items()}))
    except OSError as error:
        raise SaveError(f"{path} could not be written: {error}") from error


def steps(workdir: Path) -> list[int]:
    """Returns the steps that have arrays, ascending."""
    files = (workdir / FOLDER).glob(f"*{_SUFFIX}")
    return sorted(int(file.stem) for file in files if file.stem.isdecimal())


def names(workdir: Path, step: int) -> list[str]:
    """Returns the names of a step's arrays. Raises: CheckpointError if the file is damaged."""
    from safetensors import SafetensorError, safe_open

    path = workdir / FOLDER / f"{step}{_SUFFIX}"
    try:
        with safe_open(path, "numpy") as file:
            return list(file.keys())
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def read(workdir: Path, step: int) -> dict[str, Float[np.ndarray, "..."]]:
    """Reads the arrays of a step, by name. Raises: CheckpointError if the file is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = workdir / FOLDER / f"{step}{_SUFFIX}"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is damaged ({error}); remove it to do without that step")
