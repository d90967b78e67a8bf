"""SAGAN: residual generator and projection discriminator with self-attention, 8 to 896 px.

With `model.attention=none` this is SNGAN with spectral norm in both networks.
Source: SAGAN (arXiv:1805.08318) and its released code (128 px); StudioGAN's widths (32, 64 px).
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sagan.config import ConfigError
from sagan.config.fields import Count
from sagan.models import Networks
from sagan.models.layers.conv import Conv
from sagan.models.layers.head import Judged
from sagan.models.layers.norm import Condition
from sagan.models.layers.parts import (
    INITIALIZERS,
    AttentionConfig,
    Init,
    Parts,
    check_shared,
    first_of_each_size,
    parts,
)
from sagan.models.layers.resblock import DiscriminatorBlock, GeneratorBlock
from sagan.parallel.platform import Platform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AttentionConfig):
    """SAGAN's fields of the section `model`."""

    # Sizes in pixels of the feature maps that get self-attention; none: SNGAN.
    attention: tuple[int, ...] = (16,)
    # Base width of the generator. Each block has a multiple of it in channels.
    g_channels: Count = 64
    # Base width of the discriminator.
    d_channels: Count = 64
    # What the skips of the discriminator's blocks take: the block's input, or its positive part
    # ("relu", as in StudioGAN; the first block's skip takes the image).
    d_skip: Literal["input", "relu"] = "input"
    # Channels inside a block of the discriminator: as many as its output has, or as its input has
    # ("input", as in SNGAN's code for ImageNet).
    d_hidden: Literal["output", "input"] = "output"
    # How kernels and embeddings are initialised; "normal": with a standard deviation of 0.02.
    init: Init = "xavier"


class Widths(NamedTuple):
    """Channels of each block, in multiples of the base width."""

    g_first: int  # of the small map that z becomes
    g: tuple[int, ...]  # each block doubles the size
    d: tuple[int, ...]
    d_down: int  # number of blocks, from the first, that halve the size; the rest keep it


def of_sizes(by_doublings: Mapping[int, Widths]) -> dict[int, Widths]:
    """Returns widths by image size: 4, 5, 6 or 7 px, doubled as often as the keys say."""
    found = {
        first << doublings: widths
        for doublings, widths in by_doublings.items()
        for first in (4, 5, 6, 7)
    }
    return dict(sorted(found.items()))


# The widths of the published networks of 32 px (StudioGAN), 64 and 256 px (StudioGAN), 128 px
# (SAGAN) and 512 px (BigGAN), by how often the generator doubles its first map.
BY_DOUBLINGS = {
    1: Widths(4, (4,), (2, 2, 2), 1),
    2: Widths(4, (4, 4), (2, 2, 2), 2),
    3: Widths(4, (4, 4, 4), (2, 2, 2, 2), 2),
    4: Widths(16, (8, 4, 2, 1), (1, 2, 4, 8, 16), 4),
    5: Widths(16, (16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
    6: Widths(16, (16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6),
    7: Widths(16, (16, 8, 8, 4, 2, 1, 1), (1, 1, 2, 4, 8, 8, 16, 16), 7),
}
WIDTHS = of_sizes(BY_DOUBLINGS)


def check(config: Config) -> None:
    """Raises: ConfigError if the networks have no such image size or feature map."""
    check_widths(config, WIDTHS)


def check_widths(config: Config, table: Mapping[int, Widths]) -> None:
    """Checks a config against the widths of a family's image sizes. Raises: as `check`."""
    size = config.image_size
    if size not in table:
        raise ConfigError(f"model.image_size={size}; allowed: {', '.join(map(str, table))}")
    widths = table[size]
    first = first_side(size, widths)
    g_maps = {first << i: config.g_channels * m for i, m in enumerate(widths.g, 1)}
    d_maps = [
        (size >> min(number, widths.d_down), config.d_channels * multiple)
        for number, multiple in enumerate(widths.d, 1)
    ]
    check_shared(config, g_maps, first_of_each_size(d_maps))


def first_side(image_size: int, widths: Widths) -> int:
    """Returns the side in pixels of the map that z becomes."""
    return image_size >> len(widths.g)


def build(
    config: Config,
    axis_name: str | None = None,
    axis_index_groups: tuple[tuple[int, ...], ...] | None = None,
    platform: Platform | None = None,
) -> Networks:
    """Makes both networks.

    Args:
      config: with `num_classes` a number or None.
      axis_name, axis_index_groups: devices that share batch statistics; see `BatchNorm`.
      platform: where the networks will run; None: the hardware of this process.

    Raises: ConfigError as `check`.
    """
    check(config)
    kernel_init = INITIALIZERS[config.init]
    layers = parts(config, kernel_init, axis_name, axis_index_groups, platform)
    widths = WIDTHS[config.image_size]
    return Networks(
        Generator(config, widths, layers),
        Discriminator(config, widths, layers),
        loops_on_cpu=True,
    )


class Generator(nn.Module):
    """Makes images from latents and, if there are classes, labels or weights of classes (B, K).

    Source: SAGAN (arXiv:1805.08318), released `generator.py`.
    """

    config: Config
    widths: Widths
    layers: Parts

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], label: Condition, *, train: bool
    ) -> Float[Array, "B S S 3"]:
        config = self.config
        base, layers = config.g_channels, self.layers
        norm = partial(layers.norm, config.num_classes)
        first = base * self.widths.g_first
        side = first_side(config.image_size, self.widths)
        dense = nn.Dense(
            side * side * first, dtype=config.dtype, kernel_init=layers.kernel_init, name="linear"
        )
        x = dense(z).reshape(-1, side, side, first)
        for number, multiple in enumerate(self.widths.g, 1):
            block = GeneratorBlock(base * multiple, layers.conv, norm, name=f"block{number}")
            x = block(x, label, train=train)
            size = x.shape[1]
            if size in config.attention:
                x = layers.attention(name=f"attention_{size}")(x)
        x = nn.relu(layers.norm(None, name="norm")(x, None, train=train))
        x = layers.conv(Conv, 3, 3, name="output")(x)
        return jnp.tanh(x.astype(jnp.float32))


class Discriminator(nn.Module):
    """Returns a logit for each image, or what its conditioning needs; see `Head`.

    Source: SAGAN, released `discriminator.py`.
    """

    config: Config
    widths: Widths
    layers: Parts

    @nn.compact
    def __call__(
        self, image: Float[Array, "B S S 3"], label: Int[Array, " B"] | None, *, train: bool
    ) -> Float[Array, " B"] | Judged:
        config = self.config
        widths, layers = self.widths, self.layers
        pending = set(config.discriminator_attention)
        x = image.astype(config.dtype)
        for number, multiple in enumerate(widths.d, 1):
            down = number <= widths.d_down
            block = DiscriminatorBlock(
                config.d_channels * multiple,
                down,
                layers.conv,
                first=number == 1,
                hidden=x.shape[-1] if config.d_hidden == "input" else None,
                relu_skip=config.d_skip == "relu",
                name=f"block{number}",
            )
            x = block(x)
            size = x.shape[1]
            if size in pending:
                x = layers.attention(name=f"attention_{size}")(x)
                pending.remove(size)
        h = nn.relu(x).sum((1, 2), dtype=jnp.float32)  # (B, C); sum, not mean
        head = layers.head()
        nn.share_scope(self, head)  # its layers belong to this module
        return head(h, label, train=train)
