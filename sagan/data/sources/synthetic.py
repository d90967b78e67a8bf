"""Coloured discs on a plain background, one hue per class; computed, so it needs no files."""

import colorsys

import numpy as np

from sagan.config import DataConfig
from sagan.data import Example

_NUM_IMAGES = 512
_NUM_CLASSES = 4


class Synthetic:
    """Image i shows a disc of its class's hue; place and radius depend on split and i alone."""

    class_names = tuple(f"hue{n}" for n in range(_NUM_CLASSES))

    def __init__(self, split: str, image_size: int):
        self.key = f"synthetic-{split}-{image_size}"
        self._size = image_size
        self._seed = sum(split.encode())

    def __len__(self) -> int:
        return _NUM_IMAGES

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < _NUM_IMAGES:
            raise IndexError(index)
        label = index % _NUM_CLASSES
        x, y, radius = np.random.default_rng((self._seed, index)).uniform(0.25, 0.75, 3)
        grid = (np.arange(self._size) + 0.5) / self._size
        distance = np.hypot(grid[None, :] - x, grid[:, None] - y)
        inside = np.clip((radius / 2 - distance) * self._size + 0.5, 0, 1)[..., None]
        colour = np.array(colorsys.hsv_to_rgb(label / _NUM_CLASSES, 0.9, 0.95))
        image = inside * colour + (1 - inside) * 0.15
        return {"image": np.round(image * 255).astype(np.uint8), "label": label}


def load(config: DataConfig, image_size: int, argument: str) -> Synthetic:
    """Opens the images of a split, whose name seeds them; `ab` and `ba` are the same images."""
    del argument
    return Synthetic(config.split, image_size)
