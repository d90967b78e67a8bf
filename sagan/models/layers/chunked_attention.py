"""Attention over all positions: with the whole map of weights, or in chunks of queries.

Both compute the same function. Scores are not scaled. Scores, softmax and the sums of gradients
over queries are computed in float32.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sagan.models.layers.local_attention import Gathered, Keys, Queries, Values

_CHUNK_SCORES = 1 << 18  # scores of one image computed at a time: 1 MiB


def full(query: Queries, key: Keys, value: Values) -> Gathered:
    """Returns the mean of the values, weighted by the softmax of scores, for each query."""
    return weighted(jax.nn.softmax(scores(query, key)), value, query.shape)


def scores(query: Queries, key: Keys) -> Float[Array, "B Q K"]:
    """Returns the product of each query with each key."""
    q, k = (x.reshape(len(x), -1, x.shape[-1]) for x in (query, key))
    return jnp.einsum("bqc,bkc->bqk", q, k, preferred_element_type=jnp.float32)


def weighted(weights: Float[Array, "B Q K"], value: Values, shape: tuple[int, ...]) -> Gathered:
    """Returns the weighted sums of the values, as maps of the queries' height and width.

    Args:
      shape: of the queries.
    """
    v = value.reshape(len(value), -1, value.shape[-1])
    return jnp.einsum("bqk,bkc->bqc", weights.astype(v.dtype), v).reshape(*shape[:-1], v.shape[-1])


def memory_efficient(
    query: Queries, key: Keys, value: Values, chunk_scores: int = _CHUNK_SCORES
) -> Gathered:
    """Computes full attention in chunks of queries. The backward pass computes each chunk again.

    Args:
      chunk_scores: scores of one image in each chunk, at most; a chunk has at least one query.

    Source: Rabe and Staats (arXiv:2112.05682). Deviation: keys are not in chunks, because the
      scores of a chunk of queries against all keys are few enough.
    """
    b, h, w, c = query.shape
    dtype, keys = value.dtype, key.shape[1] * key.shape[2]
    chunk = min(h * w, max(1, chunk_scores // keys))
    count = -(-h * w // chunk)
    q = jnp.pad(query.reshape(b, h * w, c), ((0, 0), (0, count * chunk - h * w), (0, 0)))
    q = q.reshape(b, count, chunk, 1, c).swapaxes(0, 1)
    # In float32, so that the gradients of the chunks are added in float32.
    key, value = key.astype(jnp.float32), value.astype(jnp.float32)

    @jax.checkpoint
    def one(key: Keys, value: Values, part: Queries) -> Gathered:
        weights = jax.nn.softmax(scores(part, key.astype(dtype)))
        return weighted(weights, value.astype(dtype), part.shape)

    _, parts = lax.scan(lambda _, part: (None, one(key, value, part)), None, q)
    out = parts.swapaxes(0, 1).reshape(b, count * chunk, -1)
    return out[:, : h * w].reshape(b, h, w, -1)
