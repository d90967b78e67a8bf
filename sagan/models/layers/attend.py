"""What each position of a feature map gathers from others: from all of them, or from near ones.

Keys and values are maps of the queries' size, or of half of it in each direction (pooled). Scores
are not scaled; scores, softmax and sums of gradients over queries are float32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

Queries = Float[Array, "B H W C"]
Keys = Float[Array, "B h w C"]
Values = Float[Array, "B h w V"]
Gathered = Float[Array, "B H W V"]

EFFICIENT_FROM_PX = 64  # from maps of this side on, `auto` never makes the whole map
_CHUNK_SCORES = 1 << 18  # of one image at a time, 1 MiB
_FLASH_CHANNELS = 128
_FLASH_DTYPES = (jnp.bfloat16, jnp.float16)


def gather(form: str, block: int, query: Queries, key: Keys, value: Values) -> Gathered:
    """Weights values by the softmax of scores, without keeping the weights.

    Args:
      form: `full`; `memory_efficient`: the same, worked through in chunks of queries, forwards
        and backwards; `flash`: the same in one kernel of cuDNN's where that can do it (GPUs by
        NVIDIA of compute capability 8 and up, 16-bit maps of up to 128 channels), elsewhere
        `memory_efficient`; `local_1d`, `local_2d`: see there; `auto`: `memory_efficient` from
        64 x 64 on, else `full`.
      block: of the local forms.

    Raises: ValueError for an unknown form, or a block that does not fit.
    """
    if form == "auto":
        size = query.shape[1] * query.shape[2]
        form = "memory_efficient" if size >= EFFICIENT_FROM_PX**2 else "full"
    if form in _LOCAL:
        return _LOCAL[form](query, key, value, block)
    if form == "full":
        return _weighted(_softmax(_scores(query, key)), value, query.shape)
    if form == "flash" and has_flash(max(query.shape[-1], value.shape[-1]), value.dtype):
        return _flash(query, key, value)
    if form not in ("memory_efficient", "flash"):
        raise ValueError(f"attention form {form!r}; allowed: auto, {', '.join(FORMS)}")
    return _memory_efficient(query, key, value)


def gather_with_map(
    form: str, block: int, query: Queries, key: Keys, value: Values
) -> tuple[Gathered, Float[Array, "B Q K"]]:
    """Gathers as `gather` does and gives the whole map too: rows sum to 1, 0 where not seen."""
    scores = _scores(query, key)
    if form in _LOCAL:
        seen = _SEEN[form](query.shape[1:3], key.shape[1:3], block)
        scores = jnp.where(seen[None], scores, -jnp.inf)
    weights = _softmax(scores)
    return _weighted(weights, value, query.shape), weights


def check_block(form: str, block: int, size: int, *, pooled: bool) -> str | None:
    """Says what is wrong with a local form's block on a map of `size` px; None if nothing is."""
    if form not in _LOCAL or _covers(form, block, (size, size)):
        return None
    # Keys of a block are two halves, each of which some blocks beside it see too.
    least = 4 if pooled else 2
    if block < least or block % least:
        return f"allowed: multiples of {least}"
    if form == "local_2d" and size % block:
        return f"allowed: divisors of {size}"
    if form == "local_1d" and size**2 % block**2:
        return f"allowed: its square divides {size} x {size} positions"
    if form == "local_1d" and pooled and block**2 % (2 * size):
        # Else a block's positions and its pooled keys would not be the same part of the image.
        return f"allowed: its square is whole pairs of rows, {2 * size} positions each"
    return None


def _scores(query: Queries, key: Keys) -> Float[Array, "B Q K"]:
    q, k = (x.reshape(len(x), -1, x.shape[-1]) for x in (query, key))
    return jnp.einsum("bqc,bkc->bqk", q, k, preferred_element_type=jnp.float32)


def _softmax(scores: Array) -> Array:
    return jax.nn.softmax(scores, axis=-1)


def _weighted(weights: Float[Array, "B Q K"], value: Values, shape: tuple[int, ...]) -> Gathered:
    v = value.reshape(len(value), -1, value.shape[-1])
    return jnp.einsum("bqk,bkc->bqc", weights.astype(v.dtype), v).reshape(*shape[:-1], v.shape[-1])


def _memory_efficient(query: Queries, key: Keys, value: Values) -> Gathered:
    """Full attention, chunk by chunk of queries; the way back computes each chunk again.

    Source: Rabe and Staats (arXiv:2112.05682). Deviation: only queries are in chunks, since a
      chunk's scores against all keys are small enough.
    """
    b, h, w, c = query.shape
    dtype, keys = value.dtype, key.shape[1] * key.shape[2]
    chunk = min(h * w, max(1, _CHUNK_SCORES // keys))
    count = -(-h * w // chunk)
    q = jnp.pad(query.reshape(b, h * w, c), ((0, 0), (0, count * chunk - h * w), (0, 0)))
    q = q.reshape(b, count, chunk, 1, c).swapaxes(0, 1)
    # Held in float32, so that gradients of chunks add up in float32.
    key, value = key.astype(jnp.float32), value.astype(jnp.float32)

    @jax.checkpoint
    def one(key: Keys, value: Values, part: Queries) -> Gathered:
        weights = _softmax(_scores(part, key.astype(dtype)))
        return _weighted(weights, value.astype(dtype), part.shape)

    _, parts = lax.scan(lambda _, part: (None, one(key, value, part)), None, q)
    out = parts.swapaxes(0, 1).reshape(b, count * chunk, -1)
    return out[:, : h * w].reshape(b, h, w, -1)


def has_flash(channels: int, dtype: Any) -> bool:
    """Whether cuDNN's attention works for maps of so many channels on this process's devices."""
    if jax.default_backend() != "gpu" or channels > _FLASH_CHANNELS or dtype not in _FLASH_DTYPES:
        return False
    capability = getattr(jax.local_devices()[0], "compute_capability", "")  # AMD's: gfx942
    return capability[:1].isdigit() and float(capability) >= 8


# What cuDNN does not do: widths that are no multiples of 8 or differ between keys and values, and
# the second gradient, which penalties need. Keys' and queries' zeros add nothing to the scores.
def _by_cudnn(query: Queries, key: Keys, value: Values) -> Gathered:
    width = -(-max(query.shape[-1], value.shape[-1]) // 8) * 8

    def one_head(x: Array) -> Array:
        x = x.reshape(len(x), -1, 1, x.shape[-1])
        return jnp.pad(x, [(0, 0)] * 3 + [(0, width - x.shape[-1])])

    out = jax.nn.dot_product_attention(
        *(one_head(x) for x in (query, key, value)), scale=1.0, implementation="cudnn"
    )
    return out[..., : value.shape[-1]].reshape(*query.shape[:-1], -1)


@jax.custom_vjp
def _flash(query: Queries, key: Keys, value: Values) -> Gathered:
    # The call that the gradient makes again, so that XLA makes one of the two.
    return jax.vjp(_by_cudnn, query, key, value)[0]


@jax.custom_vjp
def _flash_gradient(query: Queries, key: Keys, value: Values, g: Gathered) -> tuple[Array, ...]:
    return jax.vjp(_by_cudnn, query, key, value)[1](g)


def _efficient_gradient(
    query: Queries, key: Keys, value: Values, g: Gathered
) -> tuple[Array, ...]:  # fmt: skip
    return jax.vjp(_memory_efficient, query, key, value)[1](g)


_flash.defvjp(
    lambda *maps: (_flash(*maps), maps),
    lambda maps, g: _flash_gradient(*maps, g),
)
_flash_gradient.defvjp(
    lambda *given: (_flash_gradient(*given), given),
    lambda given, g: jax.vjp(_efficient_gradient, *given)[1](g),
)


def local_1d(query: Queries, key: Keys, value: Values, block: int) -> Gathered:
    """Attends along rasters: blocks of `block`**2 positions see themselves and half a block beside.

    Before and behind, so that a block's memory is twice its length; at the ends there is less.

    Source: Image Transformer (arXiv:1802.05751), Section 3.3, 1D. Deviation: not causal.

    Raises: ValueError as `check_block`.
    """
    _require("local_1d", block, query, key)
    b, h, w, c = query.shape
    count = max(1, h * w // block**2)
    flat = (x.reshape(len(x), -1, x.shape[-1]) for x in (key, value))
    k, v = (_windows(x, count, 1) for x in flat)  # (B, n, K, C)
    seen = _windows(jnp.ones((1, key.shape[1] * key.shape[2], 1), bool), count, 1)
    out = _within(query.reshape(b, count, -1, c), k, v, seen[0, ..., 0])
    return out.reshape(b, h, w, -1)


def local_2d(query: Queries, key: Keys, value: Values, block: int) -> Gathered:
    """Attends within squares: `block` x `block` px see themselves and half a block on every side.

    Source: Image Transformer (arXiv:1802.05751), Section 3.3, 2D. Deviation: not causal, so the
      memory also reaches to the right and below.

    Raises: ValueError as `check_block`.
    """
    _require("local_2d", block, query, key)
    b, h, w, c = query.shape
    rows, columns = max(1, h // block), max(1, w // block)

    def blocks(x):
        """(B, h, w, C) -> (B, blocks, K, C), each with its surroundings."""
        x = _windows(x, rows, 1)  # (B, rows, k, w, C)
        x = _windows(x, columns, 3)  # (B, rows, k, columns, l, C)
        return x.swapaxes(2, 3).reshape(len(x), rows * columns, -1, x.shape[-1])

    q = query.reshape(b, rows, h // rows, columns, w // columns, c).swapaxes(2, 3)
    seen = blocks(jnp.ones((1, *key.shape[1:3], 1), bool))[0, ..., 0]
    out = _within(q.reshape(b, rows * columns, -1, c), blocks(key), blocks(value), seen)
    out = out.reshape(b, rows, columns, h // rows, w // columns, -1).swapaxes(2, 3)
    return out.reshape(b, h, w, -1)


def _within(
    q: Float[Array, "B N Q C"], k: Float[Array, "B N K C"], v: Float[Array, "B N K V"],
    seen: Bool[Array, "N K"],
) -> Float[Array, "B N Q V"]:  # fmt: skip
    """Attention of each of N blocks; `seen` is false where a window reaches outside the map."""
    scores = jnp.einsum("bnqc,bnkc->bnqk", q, k, preferred_element_type=jnp.float32)
    weights = _softmax(jnp.where(seen[None, :, None], scores, -jnp.inf))
    return jnp.einsum("bnqk,bnkc->bnqc", weights.astype(v.dtype), v)


def _windows(x, count: int, axis: int):
    """Splits `axis` into `count` blocks, each widened by half a block on both sides.

    What lies outside is 0. A single block, which is everything, is not widened.
    """
    if count == 1:
        return x[(slice(None),) * axis + (None,)]
    half = x.shape[axis] // count // 2
    x = jnp.pad(x, [(half, half) if i == axis else (0, 0) for i in range(x.ndim)])
    x = x.reshape(*x.shape[:axis], 2 * count + 2, half, *x.shape[axis + 1 :])
    before = (slice(None),) * axis
    return jnp.concatenate([x[(*before, slice(i, i + 2 * count, 2))] for i in range(4)], axis + 1)


def _seen_1d(size: tuple[int, int], key_size: tuple[int, int], block: int) -> Bool[Array, "Q K"]:
    count = max(1, size[0] * size[1] // block**2)
    return _near(size[0] * size[1], key_size[0] * key_size[1], count)


def _seen_2d(size: tuple[int, int], key_size: tuple[int, int], block: int) -> Bool[Array, "Q K"]:
    rows, columns = (_near(n, k, max(1, n // block)) for n, k in zip(size, key_size, strict=True))
    seen = rows[:, None, :, None] & columns[None, :, None, :]
    return seen.reshape(size[0] * size[1], -1)


def _near(queries: int, keys: int, count: int) -> Bool[Array, "Q K"]:
    """Whether a query's block, widened by half a block, holds a key; along one axis."""
    if count == 1:
        return jnp.ones((queries, keys), bool)
    block = keys // count
    first = jnp.arange(queries)[:, None] // (queries // count) * block - block // 2
    position = jnp.arange(keys)[None]
    return (position >= first) & (position < first + 2 * block)


def _covers(form: str, block: int, size: tuple[int, int]) -> bool:
    return block >= max(size) if form == "local_2d" else block**2 >= size[0] * size[1]


def _require(form: str, block: int, query: Array, key: Array) -> None:
    h, w = query.shape[1:3]
    if h != w and not _covers(form, block, (h, w)):
        raise ValueError(f"{form} needs square maps, got {h} x {w}")
    wrong = check_block(form, block, h, pooled=h != key.shape[1])
    if wrong:
        raise ValueError(f"{form} with blocks of {block} on {h} x {w} positions; {wrong}")


_LOCAL: Mapping[str, Callable] = {"local_1d": local_1d, "local_2d": local_2d}
_SEEN: Mapping[str, Callable] = {"local_1d": _seen_1d, "local_2d": _seen_2d}
EXACT = ("full", "memory_efficient", "flash")  # the same function, computed in other ways
FORMS = (*EXACT, *_LOCAL)
