"""scikit-learn's handwritten digits: 1,797 real images, embedded, nothing to download.

Source: UCI Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998), 8x8, 10 classes.
"""

from typing import Any

import numpy as np
from PIL import Image

from sagan.config import DataConfig
from sagan.data import Example, held_out, unknown_split

_TEST_EVERY = 5  # every fifth image is in split `test`


class Digits:
    """The digits enlarged bicubically from 8x8, grey as RGB."""

    class_names = tuple("0123456789")

    def __init__(self, split: str, image_size: int):
        from sklearn.datasets import load_digits

        table: Any = load_digits()
        numbers = np.arange(len(table.target))
        splits = {
            "train": numbers % _TEST_EVERY != 0,
            "test": numbers % _TEST_EVERY == 0,
            "all": numbers >= 0,
        }
        if split not in splits:
            raise unknown_split(split, "digits", tuple(splits))
        self.held_out = held_out(split, splits)
        self.key = f"digits-{split}-{image_size}"
        self._images = [_enlarge(image, image_size) for image in table.images[splits[split]]]
        self._labels = table.target[splits[split]]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Example:
        return {"image": self._images[index], "label": int(self._labels[index])}


def load(config: DataConfig, image_size: int, argument: str) -> Digits:
    """Raises: ConfigError if the split is not one of train, test, all."""
    del argument
    return Digits(config.split, image_size)


def _enlarge(image: np.ndarray, size: int) -> np.ndarray:
    grey = Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8))
    if grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BICUBIC)
    return np.repeat(np.asarray(grey)[..., None], 3, axis=-1)
