"""The pixels that a 3x3 kernel covers, at each of its nine positions (taps).

These functions call `jax.lax` and not `jax.numpy`, because jax traces `lax` several times faster.
"""

from collections.abc import Sequence

import numpy as np
from jax import lax
from jaxtyping import Array, Float

TAPS = [(i, j) for i in range(3) for j in range(3)]


def pad(x: Array, widths: Sequence[tuple[int, int]]) -> Array:
    """Pads x with zeros. `widths` has for each axis how many to add before it and after it."""
    return lax.pad(x, np.zeros((), x.dtype), [(low, high, 0) for low, high in widths])


def with_border(x: Float[Array, "... H W C"]) -> Float[Array, "... H+2 W+2 C"]:
    """Pads images with one pixel of zeros on each of their four sides."""
    return pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])


def windows(x: Float[Array, "... H W C"]) -> Float[Array, "... H W 9*C"]:
    """Returns for each pixel the channels of the 3x3 pixels around it, row by row.

    Pixels outside the image count as zero.
    """
    *leading, height, width, channels = x.shape
    padded, start = with_border(x), [0] * len(leading)
    shifted = [
        lax.slice(padded, (*start, i, j, 0), (*leading, i + height, j + width, channels))
        for i, j in TAPS
    ]
    return lax.concatenate(shifted, x.ndim - 1)
