"""Random keys that do not depend on how a batch is divided over devices.

Each random number of a step is drawn from a key of its own. The key is folded from the seed, the
step, the update and the element's global index in the batch, and then from the number of a
stream, one for each purpose. Neither the size of the batch nor the number of devices matters.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

OneKey = Key[Array, ""]
Keys = Key[Array, " B"]

# Streams; stream 0, the key itself, draws latents. AUGMENT varies the data; the next three are for
# what the discriminator sees of real images, of generated images, and in penalties.
LABEL, PENALTY, AUGMENT, SEEN_REAL, SEEN_FAKE, SEEN_AGAIN, REGULARISER = range(1, 8)


def index_keys(key: OneKey, begin: Any, size: int, stream: int = 0) -> Keys:
    """Derives one key for each of the global indices `begin … begin + size - 1`."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(begin + jnp.arange(size))
    return of_stream(keys, stream) if stream else keys


def of_stream(keys: Keys, stream: int) -> Keys:
    """Derives the keys of another stream from those of stream 0."""
    return jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys)
