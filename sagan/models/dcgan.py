"""DCGAN: strided convolutions of 4x4 pixels with batch norm in both networks, 8 to 896 px.

At 64 px these are the networks of PyTorch's example, which has 4x4 kernels where the paper has 5x5.
New here: batch norm of the generator may depend on the class, the discriminator ends in any head,
and maps may have self-attention.

Source: Radford et al. (arXiv:1511.06434), Section 3 and Fig. 1.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sagan.config.fields import Count
from sagan.models import Networks
from sagan.models.layers.head import Judged
from sagan.models.layers.norm import Condition
from sagan.models.layers.parts import (
    INITIALIZERS,
    AttentionConfig,
    Init,
    Parts,
    check_shared,
    check_size,
    halved,
    parts,
)
from sagan.parallel.platform import Platform

_SLOPE = 0.2  # of the discriminator's leaky ReLU for negative values
_WIDEST = 8  # multiple of the base width that no map exceeds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AttentionConfig):
    """DCGAN's fields of the section `model`."""

    # Number of latent values that an image is made from.
    z_dim: Count = 100
    # Divide the generator's weights by their largest singular values.
    spectral_norm_g: bool = False
    # Divide the discriminator's weights by their largest singular values.
    spectral_norm_d: bool = False
    # Channels of the generator's largest map. They double where the size halves, up to 8 times.
    g_channels: Count = 64
    # The same for the discriminator.
    d_channels: Count = 64
    # Batch norm in the discriminator, after all convolutions but the first.
    d_batch_norm: bool = True
    # How kernels and embeddings are initialised; "normal": with a standard deviation of 0.02.
    init: Init = "normal"


class Map(NamedTuple):
    """A map of features: its side in pixels, and the multiple of the base width it has."""

    side: int
    multiple: int


def maps(image_size: int) -> list[Map]:
    """Returns the maps from the smallest, 4 to 7 px, to that of half the image's size."""
    found = enumerate(halved(image_size // 2))
    return [Map(side, min(_WIDEST, 2**n)) for n, side in found][::-1]


def check(config: Config) -> None:
    """Raises: ConfigError if the networks have no such image size or feature map."""
    check_size(config)
    found = maps(config.image_size)
    widths = [
        {side: channels * multiple for side, multiple in found}
        for channels in (config.g_channels, config.d_channels)
    ]
    check_shared(config, *widths)


def build(
    config: Config,
    axis_name: str | None = None,
    axis_index_groups: tuple[tuple[int, ...], ...] | None = None,
    platform: Platform | None = None,
) -> Networks:
    """Makes both networks; arguments and errors as `sagan.build`."""
    check(config)
    layers = parts(config, INITIALIZERS[config.init], axis_name, axis_index_groups, platform)
    return Networks(Generator(config, layers), Discriminator(config, layers))


class Generator(nn.Module):
    """Makes images from latents and, if there are classes, labels or weights of classes (B, K)."""

    config: Config
    layers: Parts

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], label: Condition, *, train: bool
    ) -> Float[Array, "B S S 3"]:
        config, layers = self.config, self.layers
        grow = partial(
            nn.ConvTranspose,
            kernel_size=(4, 4),
            strides=(2, 2),
            use_bias=False,
            dtype=config.dtype,
            kernel_init=layers.kernel_init,
        )
        first, *others = maps(config.image_size)
        channels = config.g_channels * first.multiple
        dense = nn.Dense(
            first.side**2 * channels,
            use_bias=False,
            dtype=config.dtype,
            kernel_init=layers.kernel_init,
            name="linear",
        )
        x = dense(z).reshape(-1, first.side, first.side, channels)
        for number, (side, multiple) in enumerate([first, *others]):
            if number:
                x = grow(config.g_channels * multiple, name=f"conv{number}")(x)
            norm = layers.norm(config.num_classes, name=f"norm{number}")
            x = nn.relu(norm(x, label, train=train))
            if side in config.attention:
                x = layers.attention(name=f"attention_{side}")(x)
        return jnp.tanh(grow(3, name="output")(x).astype(jnp.float32))


class Discriminator(nn.Module):
    """Returns a logit for each image, or what its conditioning needs; see `Head`."""

    config: Config
    layers: Parts

    @nn.compact
    def __call__(
        self, image: Float[Array, "B S S 3"], label: Int[Array, " B"] | None, *, train: bool
    ) -> Float[Array, " B"] | Judged:
        config, layers = self.config, self.layers
        x = image
        for number, (side, multiple) in enumerate(reversed(maps(config.image_size))):
            x = nn.Conv(
                config.d_channels * multiple,
                (4, 4),
                strides=(2, 2),
                padding=1,
                use_bias=False,
                dtype=config.dtype,
                kernel_init=layers.kernel_init,
                name=f"conv{number}",
            )(x)
            if number and config.d_batch_norm:
                x = layers.norm(None, name=f"norm{number}")(x, None, train=train)
            x = nn.leaky_relu(x, _SLOPE)
            if side in config.discriminator_attention:
                x = layers.attention(name=f"attention_{side}")(x)
        head = layers.head()
        nn.share_scope(self, head)  # its layers belong to this module
        return head(x.reshape(len(x), -1), label, train=train)
