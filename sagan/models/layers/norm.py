"""Batch normalisation, plain or conditioned on a class or a vector, over one or many devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from sagan.models.layers.broadcast import broadcast_parameter

Condition = Int[Array, " B"] | Float[Array, "B V"] | None


class BatchNorm(nn.Module):
    """Normalises over batch and positions, then applies gain and bias.

    Gain and bias are parameters (C,) if there is no condition; rows of the tables `scale` and
    `bias` (K, C) if the condition is a class, or means of rows if it is weights of classes (B, K);
    and linear maps of the condition, with 1 added to the gain, if it is a vector and there are no
    classes. A new layer has gain 1 and bias 0, except with a vector.

    While training, the statistics are those of the batch on all devices along `axis_name`, and the
    running averages in `batch_stats` move (biased variance). Otherwise those averages are used.

    Attributes:
      num_classes: rows of the tables; None: there are none, and classes are ignored.
      decay: of the running averages.
      axis_name: mapped axis over which statistics are averaged; None: this device alone.
      axis_index_groups: groups of devices along it that share statistics; None: all together.
      kernel_init: of the two linear maps, whose parameters are called `kernel`.

    Source: by class, arXiv:1610.07629 as in SAGAN's released code: plain tables, without spectral
      norm. By vector, BigGAN (arXiv:1809.11096), Appendix B: linear maps with spectral norm.
    """

    num_classes: int | None
    decay: float
    epsilon: float
    axis_name: str | None = None
    axis_index_groups: tuple[tuple[int, ...], ...] | None = None
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], condition: Condition, *, train: bool
    ) -> Float[Array, "B H W C"]:
        groups = self.axis_index_groups
        normalized = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.decay,
            epsilon=self.epsilon,
            use_bias=False,
            use_scale=False,
            axis_name=self.axis_name,
            axis_index_groups=[list(group) for group in groups] if groups else None,
            dtype=self.dtype,
            name="statistics",
        )(x)
        gain, bias = self._gain_and_bias(condition, x.shape[-1])

        def spread(rows: Float[Array, "b C"]) -> Float[Array, "B H W C"]:
            return broadcast_parameter(jax.lax.expand_dims(rows, (1, 2)), x.shape, self.dtype)

        return normalized * spread(gain) + spread(bias)

    def _gain_and_bias(
        self, condition: Condition, channels: int
    ) -> tuple[Float[Array, "b C"], Float[Array, "b C"]]:
        """Returns a row for each image, or one row for all."""
        if condition is not None and condition.ndim == 2 and self.num_classes is None:
            gain, bias = (
                nn.Dense(channels, use_bias=False, kernel_init=self.kernel_init, name=name)
                for name in ("scale", "bias")
            )
            return 1 + gain(condition), bias(condition)
        classes = self.num_classes
        shape = (channels,) if classes is None else (classes, channels)
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        tables = (self.param("scale", ones, shape), self.param("bias", zeros, shape))
        if classes is None:
            return tables[0][None], tables[1][None]
        assert condition is not None
        return rows(tables[0], condition), rows(tables[1], condition)


class ClassTable(nn.Module):
    """A learned vector for each class, or the mean of vectors by weights of classes (B, K).

    The parameter is called `table`, so it is not spectrally normalised.
    """

    num_classes: int
    features: int
    init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, condition: Int[Array, " B"] | Float[Array, "B K"]) -> Float[Array, "B F"]:
        return rows(self.param("table", self.init, (self.num_classes, self.features)), condition)


def rows(
    table: Float[Array, "K C"], condition: Int[Array, " B"] | Float[Array, "B K"]
) -> Float[Array, "B C"]:
    """Returns a table's row for each class, or the sum of rows by weights of classes."""
    if condition.ndim == 2:
        return jnp.matmul(condition, table, precision=jax.lax.Precision.HIGHEST)
    return table[condition]
