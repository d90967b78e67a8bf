"""The sheet that a run draws again and again: the same latents, a class per row."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from sagan.config import Config
from sagan.files import images
from sagan.tasks.gan import sampler

_ROWS = 16


def path_of(workdir: Path, step: int) -> Path:
    return workdir / "samples" / f"{step}.png"


def draw(config: Config, variables: Any, workdir: Path, step: int) -> tuple[Any, Any]:
    """Writes the sheet of `step`; gives its images and their labels."""
    classes = config.model.num_classes
    columns = config.sample.num_per_class
    rows = min(_ROWS, classes) if isinstance(classes, int) else columns
    labels = None if classes is None else np.repeat(np.arange(rows), columns)
    z = sampler.draw_latents(config.seed, np.arange(rows * columns), config.model.z_dim)
    drawn = sampler.generate(config, variables, z, labels)
    sheet = images.grid(drawn, columns, scale=math.ceil(64 / drawn.shape[1]))
    images.save(path_of(workdir, step), sheet, {"step": step, "seed": config.seed})
    return drawn, labels
