"""Images and attention maps from latents, in chunks of one fixed size.

The generator runs with the stored batch statistics, and always on the same number of latents. An
image therefore depends on its own latent and class alone, not on its neighbours or their number.
"""

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.files.images import quantize
from sagan.tasks.gan.inference import generator

CHUNK = 32  # images in one call
Labels = Int[np.ndarray, " N"] | Float[np.ndarray, "N K"] | None


def require_seed(number: int, name: str) -> None:
    """Raises: ConfigError if a seed or an image's index does not fit in 32 bits."""
    require(0 <= number < 2**32, f"{name} {number}; allowed: 0 … {2**32 - 1}")


def draw_latents(seed: int, indices: Int[np.ndarray, " N"], z_dim: int) -> Float[np.ndarray, "N Z"]:
    """Draws a standard normal latent for each index, from the seed and that index alone."""
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
    model: Any, variables: Any, z: Array, label: Array | None, truncation: Array, maps: bool
) -> Any:
    """Returns images in [-1, 1] and, if `maps`, what the attention layers have stored."""
    return generator(model).apply(
        variables, z * truncation, label, train=False, mutable=["intermediates"] if maps else []
    )


def images(
    model: Any,
    variables: Any,
    z: Float[np.ndarray, "N Z"],
    labels: Labels,
    *,
    truncation: float = 1.0,
    as_float: bool = False,
) -> UInt8[np.ndarray, "N S S 3"] | Float[np.ndarray, "N S S 3"]:
    """Draws images from latents, spread over this process's devices.

    Args:
      variables: as `inference.averaged` returns them.
      labels: classes (N,), or weights of classes (N, K); see `require_blending`.
      truncation: factor of the latents.
      as_float: return what the generator made, in [-1, 1], instead of 0 … 255.
    """
    devices = jax.local_devices()
    copies = [jax.device_put(variables, device) for device in devices]
    shape = (len(z), model.image_size, model.image_size, 3)
    drawn = np.empty(shape, np.float32 if as_float else np.uint8)
    pending: list[tuple[slice, Any]] = []

    def collect() -> None:
        where, image = pending.pop(0)
        made = np.asarray(jax.device_get(image))[: where.stop - where.start]
        drawn[where] = made if as_float else quantize(made)

    for number, begin in enumerate(range(0, len(z), CHUNK)):
        where = slice(begin, min(begin + CHUNK, len(z)))
        device = devices[number % len(devices)]
        part = [_padded(x[where], device) if x is not None else None for x in (z, labels)]
        image, _ = _chunk(model, copies[number % len(devices)], *part, truncation, False)
        pending.append((where, image))
        if len(pending) > 2 * len(devices):
            collect()
    while pending:
        collect()
    return drawn


def require_blending(model: Any) -> None:
    """Requires that a model's generator takes weights of classes (B, K) in place of labels (B,).

    Raises: ConfigError, since networks need not; see `sagan.models`.
    """
    z = jax.ShapeDtypeStruct((1, model.z_dim), np.float32)
    label = jax.ShapeDtypeStruct((1, model.num_classes), np.float32)
    try:
        network = generator(model)
        jax.eval_shape(lambda *x: network.init(jax.random.key(0), *x, train=False), z, label)
    except Exception as error:
        raise ConfigError(
            f"the networks of model.name={model.name} cannot blend classes: their generator takes "
            "labels, but no weights of classes"
        ) from error


def attention_maps(
    model: Any,
    variables: Any,
    z: Float[np.ndarray, "N Z"],
    labels: Int[np.ndarray, " N"] | None,
) -> dict[str, Float[np.ndarray, "N Q K"]]:
    """Returns the map of each attention layer for each image; rows are queries and sum to 1."""
    parts = []
    for begin in range(0, len(z), CHUNK):
        where = slice(begin, begin + CHUNK)
        part = None if labels is None else labels[where]
        parts.append(_maps_of_chunk(model, variables, z[where], part))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _maps_of_chunk(
    model: Any, variables: Any, z: np.ndarray, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    device = jax.local_devices()[0]
    part = [_padded(x, device) if x is not None else None for x in (z, labels)]
    _, found = _chunk(model, variables, *part, 1.0, True)
    return {
        name: np.asarray(layer["attention"][0])[: len(z)]
        for name, layer in found.get("intermediates", {}).items()
        if "attention" in layer
    }


def _padded(x: np.ndarray, device: Any) -> jax.Array:
    """Fills a chunk up with zeros, whose images are thrown away."""
    fill = [(0, CHUNK - len(x))] + [(0, 0)] * (x.ndim - 1)
    return jax.device_put(np.pad(x, fill), device)
