"""Where a pixel looked while it was drawn: weights of causal attention as maps, and their picture.

A position reads the intensity before it in the order of generation, so the weight that a query puts
on a position belongs to the pixel of that intensity. The first position, and in `local_2d` the
first of each block, reads none; weight on those belongs to no pixel.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8
from PIL import Image

from sagan.config.fields import require
from sagan.files.images import grid
from sagan.models import image_transformer
from sagan.models.image_transformer import Config
from sagan.models.layers.transformer import MultiHead
from sagan.tasks.gan.attention_maps import COLOURS, dotted, overlay
from sagan.tasks.image_transformer import generate

_OUTSIDE = 0.3  # brightness of what a pixel cannot see

Points = Sequence[tuple[float, float]]


def positions(config: Config, points: Points) -> Int[np.ndarray, "P C"]:
    """Returns the positions of the channels of some pixels, in the order of generation.

    Args:
      points: (row, column) as fractions of the side, in [0, 1).
    """
    layout, size = image_transformer.layout_of(config), config.image_size
    channels = layout.columns // size
    raster = [
        int(row * size) * layout.columns + int(column * size) * channels + c
        for row, column in points
        for c in range(channels)
    ]
    order = np.argsort(np.asarray(layout.to_order(jnp.arange(layout.length))))
    return order[raster].reshape(len(points), channels)


def of_images(
    config: Config,
    variables: Any,
    drawn: UInt8[np.ndarray, "N S S 3"],
    labels: Int[np.ndarray, " N"] | None,
    points: Points,
) -> dict[str, Float[np.ndarray, "N P S S"]]:
    """Returns where some pixels of images looked, by layer.

    Raises: ConfigError for no image, no point, or points outside the image.
    """
    inside = [0 <= row < 1 and 0 <= column < 1 for row, column in points]
    require(all(inside) and len(inside) > 0, f"points={points}; allowed: pairs in [0, 1)")
    require(len(drawn) > 0, "attention of no image; allowed: one or more")
    tokens, _ = generate.read(config, drawn)
    at = positions(config, points)
    found = [
        _of_image(config, variables, tokens[n], None if labels is None else labels[n], at)
        for n in range(len(drawn))
    ]
    return {f"layers_{number}": layer for number, layer in enumerate(np.stack(found, 1))}


@functools.partial(jax.jit, static_argnums=0)
def _of_image(
    config: Config, variables: Any, tokens: Array, label: Array | None, at: Int[Array, "P C"]
) -> Float[Array, "layers P S S"]:
    """Returns how much some pixels look at each, in each layer, as means over heads and channels.

    Args:
      at: as `positions` returns them.
    """
    layout, network = image_transformer.layout_of(config), image_transformer.build(config)
    _, kept = network.apply(variables, tokens, label, capture_intermediates=_is_looking)
    queries, found = at.reshape(-1), []
    for number in range(config.layers):
        layer: Any = kept["intermediates"][f"layers_{number}"]["attention"]
        query, (key, _) = layer["queries"][0][:, queries], layer["keys_values"][0]
        scores = jnp.einsum("hqc,hkc->hqk", query, key, preferred_element_type=jnp.float32)
        scores = jnp.where(layout.looks_at(queries)[None], scores, -jnp.inf)
        found.append(_of_pixels(config, jax.nn.softmax(scores).mean(0), at).mean(1))
    return jnp.stack(found)


def _is_looking(module: Any, method: str) -> bool:
    return isinstance(module, MultiHead) and method in ("queries", "keys_values")


def visible(config: Config, at: Int[np.ndarray, "P C"]) -> Bool[np.ndarray, "P S S"]:
    """Returns which pixels some pixels can look at: what of their memory is drawn before them."""
    layout = image_transformer.layout_of(config)
    seen = layout.looks_at(jnp.asarray(at.reshape(-1))).astype(jnp.float32)
    return np.asarray(_of_pixels(config, seen, at).any(1))


def _of_pixels(config: Config, weights: Array, at: Any) -> Float[Array, "P C S S"]:
    """Brings weights (queries, positions) to the pixels that were read at the positions."""
    layout, size = image_transformer.layout_of(config), config.image_size
    raster = jax.vmap(layout.to_raster)(layout.unshift(weights))
    return raster.reshape(*at.shape, size, size, -1).sum(-1)


def sheet(
    config: Config,
    variables: Any,
    drawn: UInt8[np.ndarray, "N S S 3"],
    labels: Int[np.ndarray, " N"] | None,
    points: Points,
) -> UInt8[np.ndarray, "H W 3"]:
    """Returns one row for each image and layer: the image with its query points, then their maps.

    What a point cannot see is almost black. Raises: ConfigError as `of_images`.
    """
    maps = of_images(config, variables, drawn, labels, points)
    seen = visible(config, positions(config, points))
    panels = []
    for number, image in enumerate(drawn):
        for layer in maps.values():
            panels.append(dotted(image, points))
            for n, (weights, near) in enumerate(zip(layer[number], seen, strict=True)):
                panel = overlay(image, weights, COLOURS[n % len(COLOURS)])
                lit = Image.fromarray(near).resize(panel.shape[:2], Image.Resampling.NEAREST)
                shade = np.where(np.asarray(lit), 1, _OUTSIDE)[..., None]
                panels.append(np.round(panel * shade).astype(np.uint8))
    return grid(np.stack(panels), len(points) + 1, gap=4)
