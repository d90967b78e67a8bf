"""Two small networks without normalisation, for `model.name=support.plain_pair`."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from sagan.models import GanConfig, Networks
from sagan.models.layers.norm import BatchNorm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(GanConfig):
    """Adds to the usual fields whether the discriminator has batch norm."""

    d_batch_norm: bool = False


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z, label, *, train):
        return nn.tanh(nn.Dense(8 * 8 * 3)(z)).reshape(-1, 8, 8, 3)


class Discriminator(nn.Module):
    norm: bool
    axis_name: str | None

    @nn.compact
    def __call__(self, image, label, *, train):
        x = nn.relu(nn.Dense(16, name="first")(image.reshape(len(image), -1)))
        if self.norm:
            norm = BatchNorm(None, 0.5, 1e-5, self.axis_name, name="norm")
            x = norm(x[:, None, None], None, train=train)[:, 0, 0]
        return nn.Dense(1, name="head")(x)[:, 0].astype(jnp.float32)


def check(config):
    """Any config will do."""


def build(config, axis_name=None, axis_index_groups=None, platform=None):
    return Networks(Generator(), Discriminator(config.d_batch_norm, axis_name), loops_on_cpu=True)
