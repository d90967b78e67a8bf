"""Sheets of completed and of enlarged images, each beside the image that they were made from."""

import math
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from sagan import data
from sagan.config import Config
from sagan.config.fields import require
from sagan.evaluation import reference
from sagan.files.images import grid
from sagan.tasks.exhibits import Exhibit, Look
from sagan.tasks.image_transformer import attention_maps

_DRAWN = 4  # for each image
_MIN_SIDE_PX = 64  # smaller images are enlarged, so that a person can see them
_Labels = Int[np.ndarray, " N"] | None


def completions(
    sampler: Any, where: str, num: int, how: dict[str, Any]
) -> UInt8[np.ndarray, "H W 3"]:
    """Draws a row for each image: the image, and four that share its upper half.

    Args:
      sampler: an Image Transformer's.
      where: the images: a folder, a zip, or PRESET:SPLIT.
      how: `seed` and `temperature`.
    """
    real, labels = _some(sampler, where, num)
    drawn = sampler.complete(_each(real), _each(labels), **how)
    return _rows([real[:, None], _by_image(drawn)])


def enlargements(
    sampler: Any, where: str, num: int, how: dict[str, Any]
) -> UInt8[np.ndarray, "H W 3"]:
    """Draws a row for each image: its small copy, four enlargements, and the image itself.

    Args: as `completions`.
    """
    low = sampler.config.model.low_resolution
    require(low > 0, "this model does not enlarge images (model.low_resolution is 0)")
    real, labels = _some(sampler, where, num)
    small = small_copies(real, low)
    drawn = sampler.enlarge(_each(small), _each(labels), **how)
    return _rows([as_large(small, real)[:, None], _by_image(drawn), real[:, None]])


def small_copies(
    images: UInt8[np.ndarray, "N S S 3"], size: int
) -> UInt8[np.ndarray, "N size size 3"]:
    """Returns means of squares of pixels, as a model that enlarges reads them."""
    side = images.shape[1] // size
    parts = images.reshape(len(images), size, side, size, side, 3)
    return np.round(parts.mean((2, 4), dtype=np.float64)).astype(np.uint8)


def as_large(
    small: UInt8[np.ndarray, "N s s 3"], like: UInt8[np.ndarray, "N S S 3"]
) -> UInt8[np.ndarray, "N S S 3"]:
    """Returns small images with each pixel as a square."""
    scale = like.shape[1] // small.shape[1]
    return small.repeat(scale, 1).repeat(scale, 2)


def _some(sampler: Any, where: str, num: int) -> tuple[UInt8[np.ndarray, "N S S 3"], _Labels]:
    """Reads up to `num` images, and their classes if the model has some.

    Raises: ConfigError if they cannot be opened, or lack the classes that the model needs.
    """
    settings = reference.settings_for(where, sampler.config.data)
    opened = reference.open_images(where, overrides=settings, image_size=sampler.image_size)
    known = sampler.class_names
    if known:
        named = opened.num_classes is not None or set(opened.class_names) <= set(known)
        require(
            named,
            f"images of {where} have no classes, but this model draws images of a class; allowed: "
            f"a folder with a sub-folder for each class, called {', '.join(known[:3])} …",
        )
        opened = opened.with_classes(known)
    count = min(num, len(opened))
    pixels, labels = opened.part(count).read(np.arange(count))
    return pixels, labels if known else None


def _each(x: Any) -> Any:
    return None if x is None else np.repeat(x, _DRAWN, 0)


def _by_image(drawn: np.ndarray) -> np.ndarray:
    return drawn.reshape(-1, _DRAWN, *drawn.shape[1:])


def _rows(columns: list[np.ndarray]) -> UInt8[np.ndarray, "H W 3"]:
    """Draws images that stand beside one another, each (N, columns, S, S, 3)."""
    shown = np.concatenate(columns, 1)
    size = shown.shape[2]
    flat = shown.reshape(-1, size, size, 3)
    return grid(flat, shown.shape[1], scale=max(1, math.ceil(_MIN_SIDE_PX / size)))


def exhibits(config: Config, count: int) -> list[Exhibit]:
    """Returns real images of a run's data, with the memory of each of their pixels.

    Raises: ConfigError if the data cannot be opened.
    """
    model: Any = config.model
    source = data.load(config.data, model.image_size, quiet=True)
    images, _ = data.read(source, range(min(count, len(source))))
    middles = (np.arange(model.image_size) + 0.5) / model.image_size
    points = [(row, column) for row in middles for column in middles]
    seen = attention_maps.visible(model, attention_maps.positions(model, points))
    note = "what was generated before, within its block's memory"
    return [Exhibit("a real image", image, [Look("memory", seen, note)]) for image in images]
