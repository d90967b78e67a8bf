"""The sheet: a grid of samples, always from the same seed, with one class per row."""

import math
from typing import Any

import numpy as np

from sagan import data
from sagan.config import Config
from sagan.data import unreadable
from sagan.files.images import grid
from sagan.tasks import Preview
from sagan.tasks.image_transformer import sheets
from sagan.tasks.image_transformer.sampler import Sampler

_MAX_ROWS = 16
_MIN_SIDE_PX = 64  # smaller images are enlarged, so that a person can see them


def draw(config: Config, variables: Any, step: int) -> Preview:
    """Draws `sample.num_per_class` columns, and a row for each class up to 16.

    A model that enlarges shows training images: small, enlarged, and as they are, in three columns.
    """
    model: Any = config.model
    names = () if model.num_classes is None else tuple(map(str, range(model.num_classes)))
    sampler = Sampler(config, step, names, variables)
    columns = config.sample.num_per_class
    rows = columns if not names else min(_MAX_ROWS, len(names))
    if model.low_resolution:
        images, labels, shown = _enlarged(config, sampler, rows)
        columns = 3
    else:
        labels = None if not names else np.repeat(np.arange(rows), columns)
        images = sampler.sample(labels=labels, indices=np.arange(rows * columns), seed=config.seed)
        shown = images
    picture = grid(shown, columns, scale=math.ceil(_MIN_SIDE_PX / images.shape[1]))
    return Preview(picture, {"step": step, "seed": config.seed}, images, labels)


def _enlarged(
    config: Config, sampler: Sampler, count: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Returns enlarged images, their classes, and what is shown: each with its small copy."""
    model: Any = config.model
    source = data.load(config.data, model.image_size, quiet=True)
    chosen = np.linspace(0, len(source) - 1, count).astype(int)
    real, found = data.read(unreadable.Tolerant(source), chosen)
    labels = None if model.num_classes is None else found
    small = sheets.small_copies(real, model.low_resolution)
    images = sampler.enlarge(small, labels, seed=config.seed)
    shown = np.stack([sheets.as_large(small, real), images, real], 1)
    return images, labels, shown.reshape(-1, *images.shape[1:])
