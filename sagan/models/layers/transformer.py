"""The layers of a transformer, for one sequence. Map them over a batch with `jax.vmap`.

Each sublayer is followed by dropout, the residual sum, and layer norm, in this order.
Source: Image Transformer (arXiv:1802.05751), Section 3.1, and its code in tensor2tensor.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sagan.models.layers.causal import Heads, Kept
from sagan.models.layers.local_attention import within

Sequence = Float[Array, "L D"]
KeysValues = tuple[Kept, Kept]
Gather = Callable[[Heads, Heads, Heads], tuple[Heads, Any]]

_NORM_EPSILON = 1e-6


def dropout(x: Array, rate: float, key: Any) -> Array:
    """Sets elements to zero with probability `rate`, to the next 1/256, and scales up the rest."""
    dropped = round(rate * 256)
    words = jax.random.bits(key, (-(-x.size // 4),))  # four elements share the bits of one draw
    drawn = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[: x.size]
    kept = (drawn >= dropped).reshape(x.shape)
    return jnp.where(kept, x * (256 / (256 - dropped)), 0).astype(x.dtype)


def look_everywhere(query: Heads, key: Kept, value: Kept) -> tuple[Heads, None]:
    """Attends to all positions; see `Layer`."""
    seen = jnp.ones((1, 1, key.shape[1]), bool)
    return within(query[:, None], key[:, None], value[:, None], seen)[:, 0], None


class MultiHead(nn.Module):
    """Projections of attention with several heads; none has a bias. Queries are scaled.

    Attributes:
      channels: of all heads together.
      features: of the result.
    """

    heads: int
    channels: int
    features: int
    kernel_init: nn.initializers.Initializer
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        def dense(features: int) -> nn.Dense:
            return nn.Dense(
                features, use_bias=False, dtype=self.dtype, kernel_init=self.kernel_init
            )

        self.query, self.key, self.value = (dense(self.channels) for _ in range(3))
        self.output = dense(self.features)

    def queries(self, x: Sequence) -> Heads:
        return self._split(self.query(x)) * (self.channels // self.heads) ** -0.5

    def keys_values(self, x: Sequence) -> KeysValues:
        return self._split(self.key(x)), self._split(self.value(x))

    def merge(self, gathered: Heads) -> Sequence:
        return self.output(gathered.swapaxes(0, 1).reshape(gathered.shape[1], -1))

    def _split(self, x: Sequence) -> Heads:
        return x.reshape(len(x), self.heads, -1).swapaxes(0, 1)


class Layer(nn.Module):
    """Self-attention, attention to another sequence if there is one, and a network per position."""

    heads: int
    channels: int
    features: int
    feed_forward: int
    dropout: float
    kernel_init: nn.initializers.Initializer
    crosses: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        def multi_head() -> MultiHead:
            return MultiHead(self.heads, self.channels, self.features, self.kernel_init, self.dtype)

        def dense(features: int) -> nn.Dense:
            return nn.Dense(features, dtype=self.dtype, kernel_init=self.kernel_init)

        self.attention = multi_head()
        self.attention_norm = self._norm()
        if self.crosses:
            self.cross = multi_head()
            self.cross_norm = self._norm()
        self.inner, self.outer = dense(self.feed_forward), dense(self.features)
        self.outer_norm = self._norm()

    def _norm(self) -> nn.LayerNorm:
        return nn.LayerNorm(epsilon=_NORM_EPSILON, dtype=self.dtype)

    def __call__(
        self, x: Sequence, source: KeysValues | None, gather: Gather, *, train: bool
    ) -> tuple[Sequence, Any]:
        """Applies the layer.

        Args:
          source: keys and values of the other sequence, from `source_of`.
          gather: self-attention: (query, key, value) -> (gathered, anything).

        Returns: the sequence, and what `gather` returned beside it.
        """
        query, (key, value) = self.attention.queries(x), self.attention.keys_values(x)
        gathered, kept = gather(query, key, value)
        x = self._add(self.attention_norm, x, self.attention.merge(gathered), train)
        if source is not None:
            found, _ = look_everywhere(self.cross.queries(x), *source)
            x = self._add(self.cross_norm, x, self.cross.merge(found), train)
        return self._add(self.outer_norm, x, self.outer(nn.relu(self.inner(x))), train), kept

    def source_of(self, x: Sequence) -> KeysValues:
        """Returns the keys and values of another sequence, which this layer then looks at."""
        return self.cross.keys_values(x)

    def _add(self, norm: nn.LayerNorm, x: Sequence, more: Sequence, train: bool) -> Sequence:
        if train and self.dropout:
            more = dropout(more, self.dropout, self.make_rng("dropout"))
        return norm(x + more)
