"""Two small networks for tests of the loop, which should not wait for large ones to be traced.

They are used as `model.name=support.dense_pair`, as a user's own module would be. They have every
kind of state: tables with a row per class, batch statistics, and spectrally normalised kernels.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sagan.config.fields import Count
from sagan.models import GanConfig, Networks
from sagan.models.layers.head import Head, Judged
from sagan.models.layers.norm import BatchNorm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(GanConfig):
    """Widths of the two hidden layers, by the names that SAGAN has for its own."""

    g_channels: Count = 64
    d_channels: Count = 64


def check(config: Config) -> None:
    """Accepts any config."""


def build(config: Config, axis_name=None, axis_index_groups=None, platform=None) -> Networks:
    return Networks(
        Generator(config, axis_name, axis_index_groups), Discriminator(config), loops_on_cpu=True
    )


class Generator(nn.Module):
    config: Config
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
        x = nn.Dense(config.g_channels, use_bias=False, name="first")(z)  # batch norm has a bias
        x = norm(x[:, None, None], label, train=train)[:, 0, 0]
        x = nn.Dense(size * size * 3, name="output")(x)
        return jnp.tanh(x).reshape(-1, size, size, 3)


class Discriminator(nn.Module):
    config: Config

    @nn.compact
    def __call__(
        self, image: Float[Array, "B S S 3"], label: Int[Array, " B"] | None, *, train: bool
    ) -> Float[Array, " B"] | Judged:
        config = self.config
        x = nn.Dense(config.d_channels, name="first")(image.reshape(len(image), -1))
        head = Head(
            config.num_classes,
            config.d_conditioning,
            sliced=config.d_sliced,
            embed_dim=config.d_embed_dim,
        )
        nn.share_scope(self, head)
        return head(nn.relu(x), label, train=train)
