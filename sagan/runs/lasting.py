"""Arrays that a run keeps for good, beside its checkpoints: `averages/STEP.safetensors`.

Checkpoints are removed as a training goes on, but averages of any width are made from those of all
steps (see `sagan.tasks.gan.power_average`). They are stored as float16, at half the size.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from sagan.files.atomic import replacing

FOLDER = "averages"
_SUFFIX = ".safetensors"


def write(workdir: Path, step: int, arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> None:
    """Writes the arrays of a step, whole or not at all; one process of a job calls it.

    Raises:
      OSError: the file could not be written.
    """
    from safetensors.numpy import save

    with replacing(workdir / FOLDER / f"{step}{_SUFFIX}") as file:
        file.write(save({name: np.asarray(x, np.float16) for name, x in arrays.items()}))


def steps(workdir: Path) -> list[int]:
    """Returns the steps that have arrays, ascending."""
    files = (workdir / FOLDER).glob(f"*{_SUFFIX}")
    return sorted(int(file.stem) for file in files if file.stem.isdecimal())


def read(workdir: Path, step: int) -> dict[str, Float[np.ndarray, "..."]]:
    """Reads the arrays of a step, by name."""
    from safetensors.numpy import load_file

    return load_file(workdir / FOLDER / f"{step}{_SUFFIX}")
