"""Checks of what a sampler of images is given."""

import numpy as np
from jaxtyping import UInt8

from sagan.config.fields import require


def require_grey(pixels: UInt8[np.ndarray, "N S S 3"]) -> None:
    """Raises: ConfigError if an image is not grey, so that one channel cannot stand for it."""
    coloured = np.flatnonzero((pixels != pixels[..., :1]).any((1, 2, 3)))
    require(
        not coloured.size,
        f"model.channels=1, but images are coloured, such as number {coloured[:1].tolist()} of "
        "those read; allowed: grey images, or model.channels=3",
    )


def require_images(pixels: np.ndarray, size: int) -> None:
    """Raises: ConfigError for images of another shape or type."""
    require(
        pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.shape[1:] == (size, size, 3),
        f"images are {pixels.dtype} of shape {pixels.shape}; allowed: uint8 (N, {size}, {size}, 3)",
    )


def require_no_truncation(truncation: float | None) -> None:
    """Raises: ConfigError if a factor of latents is given."""
    require(
        truncation is None,
        f"truncation={truncation}, but there are no latents to be truncated; allowed: temperature",
    )
