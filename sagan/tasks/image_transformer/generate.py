"""Drawing images position by position, and how probable images are.

Each runs as one compiled program on a fixed number of images, spread over this process's devices.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from sagan.files.images import quantize
from sagan.models import image_transformer
from sagan.models.image_transformer import Config
from sagan.parallel.devices import Devices
from sagan.tasks.image_transformer.step import dimensions, inputs

_CHUNK = 32  # images on each device
_CACHE_BYTES = 4 << 30  # of the keys and values of all of them


class Wanted(NamedTuple):
    """Images to draw; all fields have a row for each.

    Attributes:
      index: image i is drawn from the seed, i and its class.
      label: None if the model is unconditional.
      tokens: levels in the order of generation, of which some are given; None: none is.
      small: levels of the small copies; None if the model needs none.
    """

    index: Int[np.ndarray, " N"]
    label: Int[np.ndarray, " N"] | None
    tokens: Int[np.ndarray, "N L W"] | None
    small: Int[np.ndarray, "N l W"] | None


def draw(
    config: Config,
    weights: Any,
    wanted: Wanted,
    *,
    seed: int,
    temperature: float,
    known: np.ndarray | None = None,
) -> UInt8[np.ndarray, "N S S 3"]:
    """Draws images, each from the seed, its index, its class, and what of it is given.

    Args:
      weights: as `replicated` returns them.
      known: which positions are given, in the order of generation (L,).
    """
    length = image_transformer.layout_of(config).length
    known = np.zeros(length, bool) if known is None else known
    whole = (weights, np.uint32(seed), np.float32(temperature), known)
    size = config.image_size
    drawn = _by_rows(config, _draw, whole, wanted)
    return quantize(drawn) if len(drawn) else np.zeros((0, size, size, 3), np.uint8)


def _draw(
    config: Config, weights: Any, seed: Array, temperature: Array, known: Array, wanted: Wanted
) -> Float[Array, "B S S 3"]:
    """Draws a chunk of images. Keys and values are kept, so that no position is computed twice."""
    network = image_transformer.build(config)
    distribution = image_transformer.distribution_of(config)
    apply: Any = functools.partial(network.apply, weights)

    def one(row: Wanted) -> Array:
        key = jax.random.fold_in(jax.random.key(seed), row.index)
        given = apply(row.label, row.small, method="given")
        cache = apply(method="empty_cache")

        def step(carry: Any, time: Array) -> tuple[Any, Array]:
            cache, before = carry
            outputs, cache = apply(before[None], time, cache, given, method="step")
            now = distribution.sample(jax.random.fold_in(key, time), outputs, temperature)
            if row.tokens is not None:
                now = jnp.where(known[time], row.tokens[time], now)
            return (cache, now), now

        start = cache, jnp.zeros(distribution.width, jnp.int32)
        _, tokens = jax.lax.scan(step, start, jnp.arange(len(known)))
        return image_transformer.image_of(config, tokens)

    return jax.vmap(one)(wanted)


class Images(NamedTuple):
    """Images and their classes (None if the model is unconditional)."""

    image: UInt8[np.ndarray, "N S S 3"]
    label: Int[np.ndarray, " N"] | None


def bits_per_dim(config: Config, weights: Any, images: Images) -> Float[np.ndarray, " N"]:
    """Returns how many bits each image takes, per intensity."""
    return _by_rows(config, _bits_per_dim, (weights,), images)


def _bits_per_dim(config: Config, weights: Any, images: Images) -> Float[Array, " B"]:
    network = image_transformer.build(config)
    distribution = image_transformer.distribution_of(config)

    def one(row: Images) -> Array:
        given: Any = row.label
        tokens, label, small = inputs(config, as_float(row.image), given)
        outputs: Any = network.apply(weights, tokens, label, small)
        return -distribution.log_probability(outputs, tokens).sum()

    return jax.vmap(one)(images) / (dimensions(config) * math.log(2))


def as_float(image: Any) -> Any:
    """Returns an image of 0 … 255 in [-1, 1]."""
    return image.astype(jnp.float32) * (2 / 255) - 1


def read(
    config: Config, pixels: UInt8[np.ndarray, "N S S 3"]
) -> tuple[Int[np.ndarray, "N L W"], Int[np.ndarray, "N l W"] | None]:
    """Returns the levels of images, in the order of generation, and of their small copies."""

    def one(image: Array) -> tuple[Array, Array | None]:
        tokens, _, small = inputs(config, as_float(image), None)
        return tokens, small

    return jax.device_get(jax.jit(jax.vmap(one))(pixels))


def replicated(weights: Any) -> Any:
    """Returns weights on all devices of this process."""
    return _devices().replicate(weights)


def chunk_of(config: Config) -> int:
    """Returns how many images are drawn at a time on each device."""
    channels = config.attention_channels or config.features
    positions = image_transformer.layout_of(config).length
    bytes_each = 2 * config.layers * positions * channels * jnp.dtype(config.dtype).itemsize
    return max(1, min(_CHUNK, _CACHE_BYTES // bytes_each))


def _by_rows(config: Config, program: Callable[..., Any], whole: Any, rows: Any) -> Any:
    """Computes rows in chunks, the last of which is filled up with zeros."""
    devices = _devices()
    compiled = _compiled(config, program, len(whole))
    count = len(jax.tree.leaves(rows)[0])
    size = chunk_of(config) * devices.count
    whole = (whole[0], *devices.replicate(whole[1:]))
    parts: list[Any] = []
    running = None
    for begin in range(0, count, size):
        part = devices.shard(jax.tree.map(lambda x: _filled(x[begin:], size), rows), 0)  # noqa: B023
        before, running = running, compiled(*whole, part)
        if before is not None:
            parts.append(jax.device_get(before))
    if running is not None:
        parts.append(jax.device_get(running))
    return np.concatenate(parts)[:count] if parts else np.zeros(0, np.float32)


def _filled(x: np.ndarray, size: int) -> np.ndarray:
    x = np.asarray(x[:size])
    return np.pad(x, [(0, size - len(x))] + [(0, 0)] * (x.ndim - 1))


@functools.cache
def _devices() -> Devices:
    return Devices(devices=jax.local_devices())


@functools.cache
def _compiled(config: Config, program: Callable[..., Any], num_whole: int) -> Any:
    return _devices().compile_rows(functools.partial(program, config), num_whole)
