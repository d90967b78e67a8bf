"""The generator's random inputs: a latent vector and, if conditional, a class for each image."""

import jax
from jaxtyping import Array, Float, Int, Key

from sagan.parallel.keys import LABEL, of_stream


def draw(
    z_dim: int, num_classes: int | None, keys: Key[Array, " B"]
) -> tuple[Float[Array, "B Z"], Int[Array, " B"] | None]:
    """Draws a standard normal latent and a uniform class from each of B keys.

    Each image has a key of its own, so what is drawn depends neither on the size of the batch nor
    on the number of devices that share it. Unconditional models get None in place of classes.
    """
    z = jax.vmap(lambda key: jax.random.normal(key, (z_dim,)))(keys)
    if num_classes is None:
        return z, None
    labels = jax.vmap(lambda key: jax.random.randint(key, (), 0, num_classes))
    return z, labels(of_stream(keys, LABEL))
