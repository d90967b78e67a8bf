"""The colour changes of ADA: one affine map of the three channels, drawn for each image."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

_EXACT = jax.lax.Precision.HIGHEST
_LUMA = 1 / 3**0.5  # each element of the unit vector (1, 1, 1) / sqrt(3)


def normal(draw: Float[Array, "..."]) -> Float[Array, "..."]:
    """Turns uniform draws from [0, 1) into standard normal ones."""
    return 2**0.5 * jax.lax.erf_inv(jnp.clip(2 * draw - 1, -1 + 1e-6, 1 - 1e-6))


def below(count: int, draw: Float[Array, ""]) -> Int[Array, ""]:
    """Turns a uniform draw from [0, 1) into one of 0 ... count - 1."""
    return jnp.minimum(jnp.int32(draw * count), count - 1)


def colours(key: Key[Array, ""], p: Any, image: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """Changes brightness, contrast, luma, hue and saturation, each with probability p."""
    matrix = colour_map(key, p)
    return jnp.matmul(image, matrix[:3, :3].T, precision=_EXACT) + matrix[None, None, :3, 3]


def colour_map(key: Key[Array, ""], p: Any) -> Float[Array, "4 4"]:
    """Draws the map of a colour (r, g, b, 1).

    Brightness adds N(0, 0.2^2), contrast multiplies by 2^N(0, 0.5^2), luma is mirrored with
    probability 1/2, hue turns by up to pi about (1, 1, 1), and saturation is multiplied by
    2^N(0, 1). Source: ADA (arXiv:2006.06676), Appendix B.
    """
    gate, draw = jax.random.uniform(key, (2, 5))  # one call, because each is slow to compile
    gate = gate < p
    grey = jnp.full((3, 3), _LUMA**2)  # projects colours on (1, 1, 1)
    eye = jnp.eye(3)

    brightness = jnp.where(gate[0], 0.2 * normal(draw[0]), 0.0)
    contrast = jnp.where(gate[1], 2 ** (0.5 * normal(draw[1])), 1.0)
    mirrored = jnp.where(gate[2], 1.0 * below(2, draw[2]), 0.0)
    hue = jnp.where(gate[3], (2 * draw[3] - 1) * jnp.pi, 0.0)
    saturation = jnp.where(gate[4], 2 ** normal(draw[4]), 1.0)

    cross = _LUMA * jnp.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    turn = jnp.cos(hue) * eye + jnp.sin(hue) * cross + (1 - jnp.cos(hue)) * grey
    flip = eye - 2 * mirrored * grey
    saturate = grey + (eye - grey) * saturation
    linear = contrast * jnp.linalg.multi_dot([saturate, turn, flip], precision=_EXACT)
    offset = jnp.matmul(linear, jnp.full((3, 1), brightness), precision=_EXACT)
    return jnp.eye(4).at[:3, :3].set(linear).at[:3, 3:].set(offset)
