"""The colour changes of ADA: one affine map of the three channels, drawn for each image."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

_EXACT = jax.lax.Precision.HIGHEST
_LUMA = 1 / 3**0.5  # each element of the unit vector (1, 1, 1) / sqrt(3)


def colours(key: Key[Array, ""], p: Any, image: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """Changes brightness, contrast, luma, hue and saturation, each with probability p."""
    matrix = colour_map(key, p)
    return jnp.matmul(image, matrix[:3, :3].T, precision=_EXACT) + matrix[:3, 3]


def colour_map(key: Key[Array, ""], p: Any) -> Float[Array, "4 4"]:
    """Draws the map of a colour (r, g, b, 1).

    Brightness adds N(0, 0.2^2), contrast multiplies by 2^N(0, 0.5^2), luma is mirrored with
    probability 1/2, hue turns by up to pi about (1, 1, 1), and saturation is multiplied by
    2^N(0, 1). Source: ADA (arXiv:2006.06676), Appendix B.
    """
    gates, values = jax.random.split(key)
    gate = jax.random.uniform(gates, (5,)) < p
    b_key, c_key, l_key, h_key, s_key = jax.random.split(values, 5)
    grey = jnp.full((3, 3), _LUMA**2)  # projects colours on (1, 1, 1)
    eye = jnp.eye(3)

    brightness = jnp.where(gate[0], 0.2 * jax.random.normal(b_key), 0.0)
    contrast = jnp.where(gate[1], 2 ** (0.5 * jax.random.normal(c_key)), 1.0)
    mirrored = jnp.where(gate[2], jax.random.bernoulli(l_key).astype(jnp.float32), 0.0)
    hue = jnp.where(gate[3], jax.random.uniform(h_key, minval=-jnp.pi, maxval=jnp.pi), 0.0)
    saturation = jnp.where(gate[4], 2 ** jax.random.normal(s_key), 1.0)

    cross = _LUMA * jnp.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    turn = jnp.cos(hue) * eye + jnp.sin(hue) * cross + (1 - jnp.cos(hue)) * grey
    flip = eye - 2 * mirrored * grey
    saturate = grey + (eye - grey) * saturation
    linear = contrast * jnp.linalg.multi_dot([saturate, turn, flip], precision=_EXACT)
    offset = jnp.matmul(linear, jnp.full((3, 1), brightness), precision=_EXACT)
    return jnp.eye(4).at[:3, :3].set(linear).at[:3, 3:].set(offset)
