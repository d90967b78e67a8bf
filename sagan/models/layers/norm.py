"""Batch normalisation, plain or with one scale and bias per class, over one or many devices."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from sagan.models.layers.share import share


class BatchNorm(nn.Module):
    """Normalises over batch and positions, then scales and shifts by class.

    With `train`, uses the statistics of the batch (of all devices along `axis_name`) and moves
    the running averages in `batch_stats` (biased variance); otherwise uses those averages.

    Attributes:
      num_classes: rows of the tables `scale` (ones) and `bias` (zeros), both (K, C); None: one
        row for all, and `label` is ignored.
      decay: of the running averages.
      axis_name: mapped axis over which statistics are averaged; None: this device alone.
      axis_index_groups: sets of devices along it that share statistics; None: all together.

    Source: conditional batch norm (arXiv:1610.07629) as in SAGAN's released code: plain tables,
      not spectrally normalised.
    """

    num_classes: int | None
    decay: float
    epsilon: float
    axis_name: str | None = None
    axis_index_groups: tuple[tuple[int, ...], ...] | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], label: Int[Array, " B"] | None, *, train: bool
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
        channels = x.shape[-1]
        shape = (channels,) if self.num_classes is None else (self.num_classes, channels)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)

        def rows(table: Array) -> Array:  # (B, H, W, C)
            chosen = table if self.num_classes is None else table[label]
            return share(chosen.reshape(-1, 1, 1, channels), x.shape, self.dtype)

        return normalized * rows(scale) + rows(bias)
