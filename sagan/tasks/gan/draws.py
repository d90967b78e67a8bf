"""What is drawn at random inside a step: each number from a key of its own index.

A key is folded from (seed, step, update, global index in the batch) and split into streams, so
what is drawn depends neither on the batch's size nor on how many devices share it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sagan.config import Config

OneKey = Key[Array, ""]
Keys = Key[Array, " B"]

LABEL, PENALTY, AUGMENT = 1, 2, 3  # streams of one index, beside its latents


def latents(config: Config, keys: Keys) -> tuple[Float[Array, "B Z"], Int[Array, " B"] | None]:
    """Draws a latent and, if conditional, a uniform label from each of B keys."""
    z = jax.vmap(lambda k: jax.random.normal(k, (config.model.z_dim,)))(keys)
    classes = config.model.num_classes
    if classes is None:
        return z, None
    assert isinstance(classes, int)
    return z, jax.vmap(lambda k: jax.random.randint(k, (), 0, classes))(of_stream(keys, LABEL))


def index_keys(key: OneKey, begin: Any, size: int, stream: int = 0) -> Keys:
    """Derives a key for each of the global indices `begin … begin + size - 1`."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(begin + jnp.arange(size))
    return of_stream(keys, stream) if stream else keys


def of_stream(keys: Keys, number: int) -> Keys:
    """Derives from each key that of another stream."""
    return jax.vmap(lambda k: jax.random.fold_in(k, number))(keys)
