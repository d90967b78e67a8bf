"""Dot-product attention between the positions of feature maps, in several forms.

| form | what it computes |
|---|---|
| `full` | attention over all positions, with the whole map of weights in memory |
| `memory_efficient` | the same in chunks of queries, forwards and backwards |
| `flash` | the same in one cuDNN kernel if `has_flash`, else as `memory_efficient` |
| `local_1d`, `local_2d` | attention over nearby positions only |
| `auto` | `memory_efficient` on maps of 64 x 64 and larger, `full` on smaller ones |

Keys and values have the queries' height and width, or half of both (pooled). Scores are not scaled.
Scores, softmax and the sums of gradients over queries are computed in float32.
"""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sagan.models.layers.local_attention import LOCAL, Gathered, Keys, Queries, Values, seen
from sagan.parallel import platform as hardware
from sagan.parallel.platform import Platform

Maps = tuple[Array, ...]  # queries, keys and values

EXACT = ("full", "memory_efficient", "flash")  # the same function, computed in different ways
FORMS = (*EXACT, *LOCAL)
EFFICIENT_FROM_PX = 64  # height and width from which on `auto` is `memory_efficient`
_CHUNK_SCORES = 1 << 18  # scores of one image computed at a time: 1 MiB
_FLASH_CHANNELS = 128
_FLASH_DTYPES = (jnp.bfloat16, jnp.float16)


def gather(
    form: str, block: int, query: Queries, key: Keys, value: Values,
    platform: Platform | None = None,
) -> Gathered:  # fmt: skip
    """Returns the mean of the values, weighted by the softmax of scores, for each query.

    Args:
      form: see the table above.
      block: size of a block of the local forms; see `local_attention`.
      platform: where it will run; None: the hardware of this process.

    Raises: ValueError for an unknown form, or a block that does not fit.
    """
    if form == "auto":
        size = query.shape[1] * query.shape[2]
        form = "memory_efficient" if size >= EFFICIENT_FROM_PX**2 else "full"
    if form in LOCAL:
        return LOCAL[form](query, key, value, block)
    if form == "full":
        return _weighted(jax.nn.softmax(_scores(query, key)), value, query.shape)
    if form not in ("memory_efficient", "flash"):
        raise ValueError(f"attention form {form!r}; allowed: auto, {', '.join(FORMS)}")
    channels = max(query.shape[-1], value.shape[-1])
    if form == "flash" and has_flash(channels, value.dtype, platform or hardware.current()):
        return flash(query, key, value)
    return memory_efficient(query, key, value)


def gather_with_map(
    form: str, block: int, query: Queries, key: Keys, value: Values
) -> tuple[Gathered, Float[Array, "B Q K"]]:
    """Returns what `gather` returns, and the whole map of weights.

    The map's rows sum to 1. It is 0 at keys that a query of a local form does not attend to.
    """
    scores = _scores(query, key)
    if form in LOCAL:
        looked_at = seen(form, block, query.shape[1:3], key.shape[1:3])
        scores = jnp.where(looked_at[None], scores, -jnp.inf)
    weights = jax.nn.softmax(scores)
    return _weighted(weights, value, query.shape), weights


def _scores(query: Queries, key: Keys) -> Float[Array, "B Q K"]:
    q, k = (x.reshape(len(x), -1, x.shape[-1]) for x in (query, key))
    return jnp.einsum("bqc,bkc->bqk", q, k, preferred_element_type=jnp.float32)


def _weighted(weights: Float[Array, "B Q K"], value: Values, shape: tuple[int, ...]) -> Gathered:
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
        weights = jax.nn.softmax(_scores(part, key.astype(dtype)))
        return _weighted(weights, value.astype(dtype), part.shape)

    _, parts = lax.scan(lambda _, part: (None, one(key, value, part)), None, q)
    out = parts.swapaxes(0, 1).reshape(b, count * chunk, -1)
    return out[:, : h * w].reshape(b, h, w, -1)


def has_flash(channels: int, dtype: Any, platform: Platform) -> bool:
    """Returns whether cuDNN's attention runs on a platform for maps of so many channels.

    It needs a GPU by NVIDIA of compute capability 8 or higher, 16-bit maps, and up to 128 channels.
    """
    capability = platform.compute_capability  # AMD's is no number: gfx942
    new_enough = capability[:1].isdigit() and float(capability) >= 8
    fits = channels <= _FLASH_CHANNELS and dtype in _FLASH_DTYPES
    return platform.backend == "gpu" and new_enough and fits


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def flash(
    query: Queries, key: Keys, value: Values, implementation: Literal["cudnn", "xla"] = "cudnn"
) -> Gathered:
    """Computes full attention in one kernel.

    Args:
      implementation: of `jax.nn.dot_product_attention`; `xla` works on all hardware.
    """
    # The gradient makes this call again. As it is the same call, XLA computes it once.
    return jax.vjp(partial(_one_kernel, implementation), query, key, value)[0]


# cuDNN does not take a number of channels that is no multiple of 8 or differs between keys and
# values, so zeros are appended; in queries and keys they add nothing to the scores.
def _one_kernel(implementation: Any, query: Queries, key: Keys, value: Values) -> Gathered:
    width = -(-max(query.shape[-1], value.shape[-1]) // 8) * 8

    def one_head(x: Array) -> Array:
        x = x.reshape(len(x), -1, 1, x.shape[-1])
        return jnp.pad(x, [(0, 0)] * 3 + [(0, width - x.shape[-1])])

    out = jax.nn.dot_product_attention(
        *(one_head(x) for x in (query, key, value)), scale=1.0, implementation=implementation
    )
    return out[..., : value.shape[-1]].reshape(*query.shape[:-1], -1)


# Gradient penalties need a second gradient. cuDNN has none; that of `memory_efficient` is the same.
@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _flash_gradient(implementation: Any, maps: Maps, g: Gathered) -> Maps:
    return jax.vjp(partial(_one_kernel, implementation), *maps)[1](g)


def _efficient_gradient(maps: Maps, g: Gathered) -> Maps:
    return jax.vjp(memory_efficient, *maps)[1](g)


flash.defvjp(
    lambda query, key, value, which: (flash(query, key, value, which), (query, key, value)),
    lambda which, maps, g: _flash_gradient(which, maps, g),
)
_flash_gradient.defvjp(
    lambda which, *given: (_flash_gradient(which, *given), given),
    lambda which, given, g: jax.vjp(_efficient_gradient, *given)[1](g),
)
