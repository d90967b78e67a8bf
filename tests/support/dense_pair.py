"""Two networks of a layer each, where a test is about the loop and should not wait for tracing.

Used by name: `model.name=support.dense_pair`. All kinds of state are there: a class per row, batch
statistics, kernels to normalise spectrally.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sagan.config import ModelConfig
from sagan.models import Networks
from sagan.models.layers.norm import BatchNorm


def check(config: ModelConfig) -> None:
    """Takes any."""


def build(config: ModelConfig, axis_name=None, axis_index_groups=None) -> Networks:
    return Networks(Generator(config, axis_name, axis_index_groups), Discriminator(config))


class Generator(nn.Module):
    config: ModelConfig
    axis_name: str | None
    axis_index_groups: tuple[tuple[int, ...], ...] | None

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], label: Int[Array, " B"] | None, *, train: bool
    ) -> Float[Array, "B S S 3"]:
        config, size = self.config, self.config.image_size
        norm = BatchNorm(
            config.num_classes,
            config.batch_norm_decay,
            config.batch_norm_epsilon,
            self.axis_name,
            self.axis_index_groups,
        )
        x = nn.Dense(config.g_channels, name="first")(z)
        x = norm(x[:, None, None], label, train=train)[:, 0, 0]
        x = nn.Dense(size * size * 3, name="output")(x)
        return jnp.tanh(x).reshape(-1, size, size, 3)


class Discriminator(nn.Module):
    config: ModelConfig

    @nn.compact
    def __call__(
        self, image: Float[Array, "B S S 3"], label: Int[Array, " B"] | None, *, train: bool
    ) -> Float[Array, " B"]:
        del train
        x = nn.Dense(self.config.d_channels, name="first")(image.reshape(len(image), -1))
        logits = nn.Dense(1, name="head")(nn.relu(x))[:, 0]
        if label is None:
            return logits
        return logits + (x * nn.Embed(self.config.num_classes, x.shape[-1])(label)).sum(-1)
