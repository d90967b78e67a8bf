"""Images from a generator: the averaged weights, with statistics computed for them.

Batch norm's running averages were gathered by other weights than the average's, so they are
recomputed over `checkpoint.statistics_batches` batches before a checkpoint is written, and are
stored with it (standing statistics; BigGAN, arXiv:1809.11096, Section 4.1 and appendix).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from sagan.config import Config
from sagan.config import plugins as registry
from sagan.config.fields import require
from sagan.files.images import quantize
from sagan.models.layers import spectral
from sagan.tasks.gan.draws import index_keys, latents

_STATISTICS_STREAM = 0x57A75  # of the seed's key; training uses streams of the step
CHUNK = 32  # images in one call, always; so an image does not depend on how many are asked for


def _generator(config: Config, **changes: Any) -> Any:
    """Builds the generator for one device."""
    model = registry.load("models", config.model.name, field="model.name")
    return model.build(dataclasses.replace(config.model, **changes)).generator


@functools.partial(jax.jit, static_argnums=0)
def _one_batch(config: Config, weights: Any, key: Array, number: Array) -> Any:
    """Gives batch norm's mean and mean square over one batch of latents."""
    # Decay 0: what the running averages move to is this batch's statistics.
    generator = _generator(config, batch_norm_decay=0.0)
    keys = index_keys(jax.random.fold_in(key, number), 0, config.train.batch_size)
    z, label = latents(config, keys)
    zeros = generator.init(
        jax.random.key(0), z[:1], None if label is None else label[:1], train=True
    )
    variables = {"params": weights, "batch_stats": zeros.get("batch_stats", {})}
    _, moved = generator.apply(variables, z, label, train=True, mutable=["batch_stats"])

    def second_moment(stats: Any) -> Any:
        if "mean" in stats and "var" in stats:
            return {"mean": stats["mean"], "square": stats["var"] + stats["mean"] ** 2}
        return {name: second_moment(value) for name, value in stats.items()}

    return second_moment(moved.get("batch_stats", {}))


@functools.partial(jax.jit, static_argnums=0)
def _weights(config: Config, ema: Any, stats: Any) -> Any:
    """Gives the averaged weights, spectrally normalised by their own, converged, estimate."""
    del config
    for _ in range(4):  # u begins at the training weights', close to the average's
        vectors = spectral.iterate(ema, stats)
        stats = spectral.moved(vectors)
    return spectral.normalize(ema, spectral.iterate(ema, stats))


def refresh(
    config: Config, ema: Any, spectral_stats: spectral.Stats, *, batches: int | None = None
) -> Any:
    """Makes the variables to sample with, on the device of the averaged weights `ema`.

    Args:
      ema, spectral_stats: of a training state; the statistics are its generator's.
      batches: of training size; None: `checkpoint.statistics_batches`.

    Returns:
      `{"params", "batch_stats"}`: the averaged weights already spectrally normalised, and batch
      norm's exact mean and variance over the batches.
    """
    weights = _weights(config, ema, spectral_stats)
    key = jax.random.fold_in(jax.random.key(config.seed), _STATISTICS_STREAM)
    count = batches or config.checkpoint.statistics_batches
    total = None
    for number in range(count):
        moments = _one_batch(config, weights, key, jnp.int32(number))
        total = moments if total is None else jax.tree.map(jnp.add, total, moments)

    def variance(moments: Any) -> Any:
        if "square" in moments:
            mean, square = moments["mean"] / count, moments["square"] / count
            return {"mean": mean, "var": jnp.maximum(square - mean**2, 0)}
        return {name: variance(value) for name, value in moments.items()}

    return {"params": weights, "batch_stats": variance(total)}


def abstract(config: Config) -> Any:
    """Gives the shapes of what `refresh` makes, on this process's first device."""
    generator = _generator(config)
    label = None if config.model.num_classes is None else jnp.zeros(1, jnp.int32)
    z = jnp.zeros((1, config.model.z_dim))
    shapes = jax.eval_shape(lambda: dict(generator.init(jax.random.key(0), z, label, train=True)))
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return {
        name: jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
            shapes.get(name, {}),
        )
        for name in ("params", "batch_stats")
    }


def require_seed(number: int, name: str) -> None:
    """Raises: ConfigError if a seed or an image's index does not fit in 32 bits."""
    require(0 <= number < 2**32, f"{name} {number}; allowed: 0 … {2**32 - 1}")


def draw_latents(seed: int, indices: Int[np.ndarray, " N"], z_dim: int) -> Float[np.ndarray, "N Z"]:
    """Draws the latent of each index; it depends on the seed and that index alone."""
    require_seed(seed, "seed")
    z = np.empty((len(indices), z_dim), np.float32)
    for begin in range(0, len(indices), CHUNK):
        part = indices[begin : begin + CHUNK].astype(np.uint32)
        drawn = _draw(np.uint32(seed), np.pad(part, (0, CHUNK - len(part))), z_dim)
        z[begin : begin + len(part)] = np.asarray(drawn)[: len(part)]
    return z


@functools.partial(jax.jit, static_argnums=2)
def _draw(seed: Array, indices: Array, z_dim: int) -> Array:
    key = jax.random.key(seed)
    return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (z_dim,)))(indices)


@functools.partial(jax.jit, static_argnums=(0, 5))
def _chunk(
    config: Config, variables: Any, z: Array, label: Array | None, truncation: Array, maps: bool
) -> Any:
    # Sequential batch-independent statistics: train=False reads the stored ones.
    generator = _generator(config)
    image, found = generator.apply(
        variables, z * truncation, label, train=False, mutable=["intermediates"] if maps else []
    )
    return image, found


def generate(
    config: Config,
    variables: Any,
    z: Float[np.ndarray, "N Z"],
    labels: Int[np.ndarray, " N"] | None,
    *,
    truncation: float = 1.0,
) -> UInt8[np.ndarray, "N S S 3"]:
    """Draws images from latents, in chunks of one fixed size over this process's devices."""
    devices = jax.local_devices()
    copies = [jax.device_put(variables, device) for device in devices]
    size = config.model.image_size
    images = np.empty((len(z), size, size, 3), np.uint8)
    pending: list[tuple[slice, Any]] = []

    def collect() -> None:
        where, image = pending.pop(0)
        images[where] = quantize(np.asarray(jax.device_get(image)))[: where.stop - where.start]

    for number, begin in enumerate(range(0, len(z), CHUNK)):
        where = slice(begin, min(begin + CHUNK, len(z)))
        device = devices[number % len(devices)]
        part = [_padded(x[where], device) if x is not None else None for x in (z, labels)]
        image, _ = _chunk(config, copies[number % len(devices)], *part, truncation, False)
        pending.append((where, image))
        if len(pending) > 2 * len(devices):
            collect()
    while pending:
        collect()
    return images


def attention_maps(
    config: Config,
    variables: Any,
    z: Float[np.ndarray, "N Z"],
    labels: Int[np.ndarray, " N"] | None,
) -> dict[str, Float[np.ndarray, "N Q K"]]:
    """Gives each attention layer's map, image by image; rows are queries and sum to 1."""
    parts = []
    for begin in range(0, len(z), CHUNK):
        where = slice(begin, begin + CHUNK)
        part = None if labels is None else labels[where]
        parts.append(_maps_of_chunk(config, variables, z[where], part))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _maps_of_chunk(
    config: Config, variables: Any, z: np.ndarray, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    device = jax.local_devices()[0]
    part = [_padded(x, device) if x is not None else None for x in (z, labels)]
    _, found = _chunk(config, variables, *part, 1.0, True)
    layers = found.get("intermediates", {})
    return {
        name: np.asarray(layer["attention"][0])[: len(z)]
        for name, layer in layers.items()
        if "attention" in layer
    }


def _padded(x: np.ndarray, device: Any) -> jax.Array:
    fill = [(0, CHUNK - len(x))] + [(0, 0)] * (x.ndim - 1)
    return jax.device_put(np.pad(x, fill), device)
