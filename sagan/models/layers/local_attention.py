"""Attention over nearby positions, from the Image Transformer (arXiv:1802.05751), Section 3.3.

Queries are divided into blocks. Those of a block look at its own keys and at half a block of keys
around it. A block that covers the whole map makes this full attention.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Queries = Float[Array, "B H W C"]
Keys = Float[Array, "B h w C"]
Values = Float[Array, "B h w V"]
Gathered = Float[Array, "B H W V"]


def check_block(form: str, block: int, size: int, *, pooled: bool) -> str | None:
    """Returns which blocks are allowed if a local form's block does not fit; else None.

    Args:
      size: height and width of the queries.
      pooled: whether keys and values have half of that.
    """
    if form not in LOCAL or _covers(form, block, (size, size)):
        return None
    # Half a block is shared with each neighbour, so a block must have an even number of keys.
    least = 4 if pooled else 2
    if block < least or block % least:
        return f"allowed: multiples of {least}"
    if form == "local_2d" and size % block:
        return f"allowed: divisors of {size}"
    if form == "local_1d" and size**2 % block**2:
        return f"allowed: its square divides {size} x {size} positions"
    if form == "local_1d" and pooled and block**2 % (2 * size):
        # Otherwise a block's queries and its pooled keys would be different parts of the image.
        return f"allowed: its square is whole pairs of rows, {2 * size} positions each"
    return None


def local_1d(query: Queries, key: Keys, value: Values, block: int) -> Gathered:
    """Attends within runs of positions in raster order.

    A block is `block`**2 positions long. Its queries look at its own keys and at half a block of
    keys before and after it, as far as the map reaches.

    Source: Image Transformer (arXiv:1802.05751), Section 3.3, 1D. Deviation: not causal.

    Raises: ValueError as `check_block`.
    """
    _require("local_1d", block, query, key)
    b, h, w, c = query.shape
    count = max(1, h * w // block**2)
    flat = (x.reshape(len(x), -1, x.shape[-1]) for x in (key, value))
    k, v = (_windows(x, count, 1) for x in flat)  # (B, n, K, C)
    seen = _windows(jnp.ones((1, key.shape[1] * key.shape[2], 1), bool), count, 1)
    out = within(query.reshape(b, count, -1, c), k, v, seen[0, :, None, :, 0])
    return out.reshape(b, h, w, -1)


def local_2d(query: Queries, key: Keys, value: Values, block: int) -> Gathered:
    """Attends within squares of `block` x `block` pixels.

    The queries of a square look at its own keys and at half a block of keys on every side.

    Source: Image Transformer (arXiv:1802.05751), Section 3.3, 2D. Deviation: not causal, so they
      also look to the right and below.

    Raises: ValueError as `check_block`.
    """
    _require("local_2d", block, query, key)
    b, h, w, c = query.shape
    rows, columns = max(1, h // block), max(1, w // block)

    def blocks(x):
        """(B, h, w, C) -> (B, blocks, K, C); each block with half a block around it."""
        x = _windows(x, rows, 1)  # (B, rows, k, w, C)
        x = _windows(x, columns, 3)  # (B, rows, k, columns, l, C)
        return x.swapaxes(2, 3).reshape(len(x), rows * columns, -1, x.shape[-1])

    q = query.reshape(b, rows, h // rows, columns, w // columns, c).swapaxes(2, 3)
    seen = blocks(jnp.ones((1, *key.shape[1:3], 1), bool))[0, :, None, :, 0]
    out = within(q.reshape(b, rows * columns, -1, c), blocks(key), blocks(value), seen)
    out = out.reshape(b, rows, columns, h // rows, w // columns, -1).swapaxes(2, 3)
    return out.reshape(b, h, w, -1)


def within(
    q: Float[Array, "B N Q C"], k: Float[Array, "B N K C"], v: Float[Array, "B N K V"],
    seen: Bool[Array, "N _ K"],
) -> Float[Array, "B N Q V"]:  # fmt: skip
    """Attends within each of N blocks.

    Args:
      seen: which keys of its block a query looks at, one at least.
    """
    scores = jnp.einsum("bnqc,bnkc->bnqk", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(seen[None], scores, -jnp.inf))
    return jnp.einsum("bnqk,bnkc->bnqc", weights.astype(v.dtype), v)


def windows(x: Array, block: int, before: int, after: int, axis: int) -> Array:
    """Splits `axis` into blocks, each widened by some elements of its neighbours; outside is 0.

    Returns: `x` with two axes in place of one: the blocks, and `before + block + after` elements.
    """
    earlier, later = -(-before // block), -(-after // block)  # whole blocks
    count = x.shape[axis] // block
    pad = (earlier * block, later * block)
    x = jnp.pad(x, [pad if i == axis else (0, 0) for i in range(x.ndim)])
    x = x.reshape(*x.shape[:axis], -1, block, *x.shape[axis + 1 :])
    left = (slice(None),) * axis
    shifted = [x[(*left, slice(i, i + count))] for i in range(earlier + 1 + later)]
    wide = jnp.concatenate(shifted, axis + 1)
    first = earlier * block - before
    return wide[(*left, slice(None), slice(first, first + before + block + after))]


def _windows(x: Array, count: int, axis: int) -> Array:
    """Splits `axis` into `count` blocks, each widened by half a block on both sides.

    A single block is the whole axis and is not widened.
    """
    block = x.shape[axis] // count
    half = 0 if count == 1 else block // 2
    return windows(x, block, half, half, axis)


def seen(
    form: str, block: int, size: tuple[int, ...], key_size: tuple[int, ...]
) -> Bool[Array, "Q K"]:
    """Returns which keys each query of a local form looks at.

    Args:
      size, key_size: height and width of the queries' and the keys' map.
    """
    if form == "local_2d":
        pairs = zip(size, key_size, strict=True)
        rows, columns = (_near(n, k, max(1, n // block)) for n, k in pairs)
        near = rows[:, None, :, None] & columns[None, :, None, :]
        return near.reshape(size[0] * size[1], -1)
    queries, keys = size[0] * size[1], key_size[0] * key_size[1]
    return _near(queries, keys, max(1, queries // block**2))


def _near(queries: int, keys: int, count: int) -> Bool[Array, "Q K"]:
    """Returns, along one axis, whether a query's block, widened by half a block, holds a key."""
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


LOCAL: Mapping[str, Callable] = {"local_1d": local_1d, "local_2d": local_2d}
