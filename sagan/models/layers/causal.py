"""Causal attention: each position of an image attends only to what is generated before it.

Source: Image Transformer (arXiv:1802.05751), Section 3.3, and its code in tensor2tensor.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sagan.models.layers.local_attention import windows, within

Heads = Float[Array, "H L C"]
Kept = Float[Array, "H T C"]
Cache = tuple[Kept, Kept]  # keys and values of the positions generated so far, then zeros

FORMS = ("full", "local_1d", "local_2d")


@dataclasses.dataclass(frozen=True)
class Layout:
    """In which order positions are generated, and which of the earlier ones each looks at.

    Queries are divided into blocks. Those of a block look at the memory of their block, as far as
    it was generated before, and at themselves.

    | form | order | block | memory |
    |---|---|---|---|
    | `full` | raster | all positions | all positions |
    | `local_1d` | raster | `block[0]` positions | as well, `memory[0]` positions before them |
    | `local_2d` | blocks in raster order | a rectangle of `block` (height, width) | as well,
      `memory[0]` rows above, and `memory[1]` columns on both sides of all of these |

    Attributes:
      rows, columns: of positions. An image whose channels are predicted one after the other has a
        column for each channel of each pixel.
    """

    form: str
    rows: int
    columns: int
    block: tuple[int, ...] = ()
    memory: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        return self.rows * self.columns

    @property
    def queries(self) -> int:
        """Number of positions in a block."""
        return self.length if self.form == "full" else math.prod(self.block)

    @property
    def shifted_within(self) -> int:
        """Number of positions after which the first input is zero again.

        In two dimensions each block begins with a zero, as the authors' code does; a later block
        therefore never sees the very last position of an earlier one.
        """
        return self.queries if self.form == "local_2d" else self.length

    def to_order(self, x: Array) -> Array:
        """Brings axis 0 from raster order into the order of generation."""
        if self.form != "local_2d":
            return x
        h, w = self.block
        x = x.reshape(self.rows // h, h, self.columns // w, w, *x.shape[1:])
        return x.swapaxes(1, 2).reshape(self.length, *x.shape[4:])

    def to_raster(self, x: Array) -> Array:
        """Brings axis 0 from the order of generation into raster order."""
        if self.form != "local_2d":
            return x
        h, w = self.block
        x = x.reshape(self.rows // h, self.columns // w, h, w, *x.shape[1:])
        return x.swapaxes(1, 2).reshape(self.length, *x.shape[4:])

    def shift(self, x: Float[Array, "L D"]) -> Float[Array, "L D"]:
        """Moves each element to the next position; the first one becomes zero."""
        parts = x.reshape(-1, self.shifted_within, x.shape[-1])
        return jnp.pad(parts, ((0, 0), (1, 0), (0, 0)))[:, :-1].reshape(x.shape)

    def unshift(self, x: Float[Array, "n L"]) -> Float[Array, "n L"]:
        """Brings what belongs to each position to the one that is read there; see `shift`.

        What belongs to a position where nothing is read is lost.
        """
        parts = x.reshape(len(x), -1, self.shifted_within)
        return jnp.pad(parts, ((0, 0), (0, 0), (0, 1)))[..., 1:].reshape(x.shape)

    def memories(self, x: Array) -> Array:
        """Returns what belongs to the memory of each block: (H, L, C) -> (H, blocks, K, C)."""
        if self.form == "local_2d":
            (h, w), (above, beside) = self.block, self.memory
            x = jax.vmap(self.to_raster)(x).reshape(len(x), self.rows, self.columns, -1)
            x = windows(windows(x, h, above, 0, 1), w, beside, beside, 3)
            return x.swapaxes(2, 3).reshape(len(x), x.shape[1] * x.shape[3], -1, x.shape[-1])
        before = 0 if self.form == "full" else self.memory[0]
        return windows(self._filled(x), self.queries, before, 0, 1)

    def _filled(self, x: Array) -> Array:
        """Appends zeros up to a whole number of blocks."""
        return jnp.pad(x, ((0, 0), (0, -self.length % self.queries), (0, 0)))

    @functools.cached_property
    def times(self) -> Int[np.ndarray, "N K"]:
        """When the positions of each block's memory are generated, from 1; 0 outside the image."""
        with jax.ensure_compile_time_eval():
            order = jnp.arange(1, self.length + 1, dtype=jnp.int32)
            return np.asarray(self.memories(order[None, :, None])[0, :, :, 0])

    def seen(self) -> Bool[Array, "N Q K"]:
        """Returns which elements of its block's memory each query looks at."""
        times = jnp.asarray(self.times)[:, None]
        now = 1 + jnp.arange(len(self.times) * self.queries).reshape(len(self.times), -1, 1)
        return (times > 0) & (times <= now)

    def looks_at(self, at: Int[Array, " n"]) -> Bool[Array, "n L"]:
        """Returns which positions some positions look at."""
        times = jnp.asarray(self.times)[at // self.queries]
        seen = (times > 0) & (times <= at[:, None] + 1)
        count = jnp.zeros((len(at), self.length), jnp.int32)
        rows = jnp.arange(len(at))[:, None]
        return count.at[rows, jnp.maximum(times - 1, 0)].add(seen) > 0

    def attend(self, query: Heads, key: Heads, value: Heads) -> tuple[Heads, None]:
        """Computes all positions at once; there is nothing to keep."""
        q = self._filled(query).reshape(len(query), len(self.times), self.queries, -1)
        out = within(q, self.memories(key), self.memories(value), self.seen())
        return out.reshape(len(out), -1, out.shape[-1])[:, : self.length], None

    def attend_once(
        self, query: Heads, key: Heads, value: Heads, cache: Cache, time: Int[Array, ""]
    ) -> tuple[Heads, Cache]:
        """Computes one position from the keys and values of earlier ones.

        Args:
          query, key, value: of this position, (H, 1, C).
          time: number of positions generated before.

        Returns: (H, 1, C), and the cache with this position's key and value.
        """
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(old, new, time, 1)
            for old, new in zip(cache, (key, value), strict=True)
        )
        times = jnp.asarray(self.times)[time // self.queries]
        seen = (times > 0) & (times <= time + 1)
        k, v = keys, values
        if self.form != "full":
            chosen = jnp.maximum(times - 1, 0)
            k, v = keys[:, chosen], values[:, chosen]
        out = within(query[:, None], k[:, None], v[:, None], seen[None, None])
        return out[:, 0], (keys, values)
