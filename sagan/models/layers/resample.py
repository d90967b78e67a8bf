"""Doubling and halving of images with the smooth filter [1, 3, 3, 1] / 8 along each axis.

Positions outside the image count as 0. Source: StyleGAN2 (arXiv:1912.04958), as R3GAN uses it.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def smooth_upsample(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W C"]:
    """Doubles H and W: each new pixel is 3/4 of the nearest old one and 1/4 of the next."""
    for axis in (1, 2):
        before, after = _neighbours(x, axis)
        pairs = jnp.stack([(before + 3 * x) / 4, (3 * x + after) / 4], axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return x


def smooth_downsample(x: Float[Array, "B H W C"]) -> Float[Array, "B H//2 W//2 C"]:
    """Halves H and W: a new pixel is 3/8 of each of its two old ones and 1/8 of their neighbours.

    Raises:
      ValueError: H or W is odd.
    """
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(f"smooth_downsample needs an even height and width, got {x.shape}")
    for axis in (1, 2):
        pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        first, second = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
        before, _ = _neighbours(second, axis)
        _, after = _neighbours(first, axis)
        x = (before + 3 * first + 3 * second + after) / 8
    return x


def _neighbours(x: Array, axis: int) -> tuple[Array, Array]:
    """Returns, for each position along an axis, the values before and after it."""
    size = x.shape[axis]
    padded = jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)])
    before, after = (lax.slice_in_dim(padded, i, i + size, axis=axis) for i in (0, 2))
    return before, after
