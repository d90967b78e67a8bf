"""The sheet: a grid of samples, always from the same latents, with one class per row."""

import math
from typing import Any

import numpy as np

from sagan.config import SampleConfig
from sagan.files.images import grid
from sagan.tasks import Preview
from sagan.tasks.gan import generate

_MAX_ROWS = 16
_MIN_SIDE_PX = 64  # smaller images are enlarged, so that a person can see them


def draw(model: Any, seed: int, sample: SampleConfig, variables: Any, step: int) -> Preview:
    """Draws the sheet: `sample.num_per_class` columns, and a row for each class up to 16."""
    classes, columns = model.num_classes, sample.num_per_class
    rows = columns if classes is None else min(_MAX_ROWS, classes)
    labels = None if classes is None else np.repeat(np.arange(rows), columns)
    z = generate.draw_latents(seed, np.arange(rows * columns), model.z_dim)
    images = generate.images(model, variables, z, labels)
    picture = grid(images, columns, scale=math.ceil(_MIN_SIDE_PX / images.shape[1]))
    return Preview(picture, {"step": step, "seed": seed}, images, labels)
