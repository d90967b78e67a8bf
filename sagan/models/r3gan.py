"""R3GAN: residual networks without any normalisation, of grouped convolutions. 8 to 896 px.

Meant for train.loss=rpgan with the penalties r1 and r2; see the preset `cifar10_r3gan`.

Source: R3GAN (arXiv:2501.05441), Section 4 and Appendix; its released code.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sagan.config.fields import Count, require
from sagan.models import Networks
from sagan.models.layers.conv import Conv
from sagan.models.layers.grouped_conv import GroupedConv
from sagan.models.layers.head import Judged
from sagan.models.layers.norm import ClassTable, Condition
from sagan.models.layers.parts import (
    AttentionConfig,
    Parts,
    check_shared,
    check_size,
    halved,
    parts,
)
from sagan.models.layers.resample import smooth_downsample, smooth_upsample
from sagan.parallel.platform import Platform

_EXPANSION = 2  # channels inside a block, in multiples of those outside
_SLOPE = 0.2  # of the leaky ReLU for negative values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AttentionConfig):
    """R3GAN's fields of the section `model`."""

    # Number of latent values that an image is made from.
    z_dim: Count = 64
    # Has to be false: new blocks end in kernels of zeros, which have no spectral norm.
    spectral_norm_g: bool = False
    # The same for the discriminator.
    spectral_norm_d: bool = False
    # Channels of the generator's maps of up to `full_width` pixels. Larger maps have half as many
    # for each doubling of the size.
    g_channels: Count = 768
    # The same for the discriminator.
    d_channels: Count = 768
    # Size in pixels of the largest map that has all channels.
    full_width: Count = 32
    # Channels in each group of the 3x3 convolutions.
    group_width: Count = 16
    # Residual blocks for each size of map.
    blocks: Count = 2


class Stage(NamedTuple):
    """The maps of one size: its side in pixels, and the channels of both networks there."""

    side: int
    g: int
    d: int


def stages(config: Config) -> list[Stage]:
    """Returns the sizes of map from the smallest, 4 to 7 px, to the image's."""

    def width(channels: int, side: int) -> int:
        return channels // 2 ** max(0, math.ceil(math.log2(side / config.full_width)))

    return [
        Stage(side, width(config.g_channels, side), width(config.d_channels, side))
        for side in reversed(halved(config.image_size))
    ]


def check(config: Config) -> None:
    """Raises: ConfigError if the networks have no such image size, width or feature map."""
    check_size(config)
    require(
        not (config.spectral_norm_g or config.spectral_norm_d),
        "spectral norm with model.name=r3gan, whose blocks end in kernels that start at zero and "
        "have none; allowed: model.spectral_norm_g=false model.spectral_norm_d=false",
    )
    found = stages(config)
    for stage in found:
        for field, channels in (("g_channels", stage.g), ("d_channels", stage.d)):
            require(
                channels > 0 and _EXPANSION * channels % config.group_width == 0,
                f"model.{field}={getattr(config, field)} leaves {channels} channels at "
                f"{stage.side} px; twice that must be a multiple of "
                f"model.group_width={config.group_width}",
            )
    check_shared(config, {s.side: s.g for s in found}, {s.side: s.d for s in found})


def build(
    config: Config,
    axis_name: str | None = None,
    axis_index_groups: tuple[tuple[int, ...], ...] | None = None,
    platform: Platform | None = None,
) -> Networks:
    """Makes both networks; arguments and errors as `sagan.build`."""
    check(config)
    layers = parts(config, _normal(), axis_name, axis_index_groups, platform)
    return Networks(Generator(config, layers), Discriminator(config, layers), loops_on_cpu=True)


def _normal(gain: float = 1.0) -> nn.initializers.Initializer:
    """Returns the initializer with standard deviation gain / sqrt(fan_in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class Block(nn.Module):
    """Adds to x: 1x1 convolution to twice the channels, grouped 3x3, and 1x1 back.

    A bias and a leaky ReLU follow the first two. The last kernel starts at zero, so that a new
    block changes nothing (Fixup, arXiv:1901.09321).

    Attributes:
      conv: makes a layer of a class of `conv.py`.
      kernel_init: of the first two kernels.
    """

    conv: Callable[..., nn.Module]
    group_width: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        channels = x.shape[-1]
        hidden = _EXPANSION * channels
        pointwise = partial(self.conv, Conv, size=1, use_bias=False)
        h = pointwise(hidden, kernel_init=self.kernel_init, name="expand")(x)
        h = self._activate("bias1", h)
        h = self.conv(GroupedConv, self.group_width, kernel_init=self.kernel_init, name="mix")(h)
        h = self._activate("bias2", h)
        zeros = nn.initializers.zeros
        return x + pointwise(channels, kernel_init=zeros, name="project")(h)

    def _activate(self, name: str, h: Array) -> Array:
        bias = self.param(name, nn.initializers.zeros, (h.shape[-1],), jnp.float32)
        return nn.leaky_relu(h + bias.astype(h.dtype)[None, None, None], _SLOPE)


class _Trunk(NamedTuple):
    """Makes the layers that both networks have, with their names."""

    config: Config
    layers: Parts

    def conv(self, side: int) -> Callable[..., nn.Module]:
        """Returns the maker of convolutions; the smallest map is always in float32."""
        small = side == stages(self.config)[0].side
        return partial(self.layers.conv, dtype=jnp.float32) if small else self.layers.conv

    def blocks(self, side: int, x: Array) -> Array:
        config = self.config
        count = config.blocks * len(stages(config))  # of the network
        gain = math.sqrt(2 / (1 + _SLOPE**2)) * count**-0.25
        for number in range(1, config.blocks + 1):
            x = Block(
                self.conv(side),
                config.group_width,
                _normal(gain),
                name=f"block{side}_{number}",
            )(x)
        return x

    def attention(self, sizes: tuple[int, ...], side: int, x: Array) -> Array:
        return self.layers.attention(name=f"attention_{side}")(x) if side in sizes else x

    def resize(self, channels: int, name: str, x: Array) -> Array:
        """Changes the number of channels, if needed; it commutes with the smooth resampling."""
        if x.shape[-1] == channels:
            return x
        return self.layers.conv(Conv, channels, 1, use_bias=False, name=name)(x)


class Generator(nn.Module):
    """Makes images from latents and, if there are classes, labels or weights of classes (B, K).

    The values are not bounded: there is no tanh.
    """

    config: Config
    layers: Parts

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], label: Condition, *, train: bool
    ) -> Float[Array, "B S S 3"]:
        config = self.config
        trunk, found = _Trunk(config, self.layers), stages(config)
        if config.num_classes is not None:
            assert isinstance(config.num_classes, int) and label is not None
            init = nn.initializers.normal(config.num_classes**-0.5)
            z = jnp.concatenate(
                [z, ClassTable(config.num_classes, config.z_dim, init, name="classes")(label)], 1
            )
        first = found[0]
        amounts = nn.Dense(first.g, use_bias=False, kernel_init=_normal(), name="linear")(z)
        shape = (first.side, first.side, first.g)
        basis = self.param("basis", nn.initializers.normal(1.0), shape, jnp.float32)
        x = amounts[:, None, None] * basis[None]
        for stage in found:
            if stage is not first:
                x = trunk.resize(stage.g, f"resize{stage.side}", x.astype(config.dtype))
                x = smooth_upsample(x)
            x = trunk.blocks(stage.side, x)
            x = trunk.attention(config.attention, stage.side, x)
        image = self.layers.conv(Conv, 3, 1, use_bias=False, name="output")(x)
        return image.astype(jnp.float32)


class Discriminator(nn.Module):
    """Returns a logit for each image, or what its conditioning needs; see `Head`.

    With d_conditioning=projection the logit is the product of the features with the class's
    embedding alone, as in the released code.
    """

    config: Config
    layers: Parts

    @nn.compact
    def __call__(
        self, image: Float[Array, "B S S 3"], label: Int[Array, " B"] | None, *, train: bool
    ) -> Float[Array, " B"] | Judged:
        config = self.config
        trunk, found = _Trunk(config, self.layers), stages(config)
        last = found[-1]
        x = self.layers.conv(Conv, last.d, 1, use_bias=False, name="input")(image)
        for stage in reversed(found):
            if stage is not last:
                x = trunk.resize(stage.d, f"resize{stage.side}", smooth_downsample(x))
            x = trunk.blocks(stage.side, x.astype(jnp.float32) if stage is found[0] else x)
            x = trunk.attention(config.discriminator_attention, stage.side, x)
        x = x.astype(jnp.float32)
        # One weight for each position and channel: a depthwise convolution over the whole map.
        std = 1 / found[0].side
        weights = self.param("pool", nn.initializers.normal(std), x.shape[1:], jnp.float32)
        h = (x * weights[None]).sum((1, 2))
        if config.d_conditioning != "projection" or config.d_sliced:
            h = nn.Dense(found[0].d, use_bias=False, kernel_init=_normal(), name="linear")(h)
            head = self.layers.head()
            nn.share_scope(self, head)
            return head(h, label, train=train)
        if config.num_classes is None:
            return nn.Dense(1, use_bias=False, kernel_init=_normal(), name="linear")(h)[:, 0]
        assert isinstance(config.num_classes, int) and label is not None
        h = nn.Dense(found[0].d, use_bias=False, kernel_init=_normal(), name="linear")(h)
        init = nn.initializers.normal((config.num_classes * h.shape[-1]) ** -0.5)
        table = nn.Embed(config.num_classes, h.shape[-1], embedding_init=init, name="classes")
        return (h * table(label)).sum(-1)
