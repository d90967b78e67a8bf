"""What a 3x3 kernel reads at each of its nine taps.

These functions call `lax`, because it is traced several times faster than `jax.numpy`.
"""

from collections.abc import Sequence

import numpy as np
from jax import lax
from jaxtyping import Array, Float

TAPS = [(i, j) for i in range(3) for j in range(3)]


def pad(x: Array, widths: Sequence[tuple[int, int]]) -> Array:
    """Adds so many zeros before and after x along each axis."""
    return lax.pad(x, np.zeros((), x.dtype), [(low, high, 0) for low, high in widths])


def with_border(x: Float[Array, "... H W C"]) -> Float[Array, "... H+2 W+2 C"]:
    """Adds one pixel of zeros on each side of the images."""
    return pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])


def windows(x: Float[Array, "... H W C"]) -> Float[Array, "... H W 9*C"]:
    """Joins the channels of the nine pixels around each pixel; outside the image they are zero."""
    *leading, height, width, channels = x.shape
    padded, start = with_border(x), [0] * len(leading)
    shifted = [
        lax.slice(padded, (*start, i, j, 0), (*leading, i + height, j + width, channels))
        for i, j in TAPS
    ]
    return lax.concatenate(shifted, x.ndim - 1)
