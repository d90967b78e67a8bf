"""SAGAN: residual generator and projection discriminator with self-attention, 8 to 896 px.

With `model.attention=none` this is SNGAN with spectral norm in both networks.
Source: SAGAN (arXiv:1805.08318) and its released code (128 px); StudioGAN's widths (32, 64 px).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sagan.config import ConfigError
from sagan.config.fields import Count
from sagan.models import GanConfig, Networks
from sagan.models.layers.attention import SelfAttention
from sagan.models.layers.conv import Conv
from sagan.models.layers.head import Head, Judged
from sagan.models.layers.local_attention import check_block
from sagan.models.layers.norm import BatchNorm, Condition
from sagan.models.layers.resblock import DiscriminatorBlock, GeneratorBlock
from sagan.parallel import platform as hardware
from sagan.parallel.platform import Platform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(GanConfig):
    """SAGAN's fields of the section `model`."""

    # Base width of the generator. Each block has a multiple of it in channels.
    g_channels: Count = 64
    # Base width of the discriminator.
    d_channels: Count = 64
    # Sizes in pixels of the feature maps that get self-attention; none: SNGAN.
    attention: tuple[int, ...] = (16,)
    # The same for the discriminator, where it differs from the generator; none: it does not.
    attention_d: tuple[int, ...] | None = None
    # "released": as in the authors' code, keys and values are pooled; "paper": as in their paper.
    attention_variant: Literal["released", "paper"] = "released"
    # How attention is computed. "full", "memory_efficient" and "flash" give the same result: at
    # once, in chunks, or in one kernel of cuDNN's (where it cannot, in chunks). "auto": "full" on
    # maps smaller than 64 x 64, else "memory_efficient". "local_1d" and "local_2d" look only at
    # nearby positions.
    attention_form: Literal["auto", "full", "memory_efficient", "flash", "local_1d", "local_2d"] = (
        "auto"
    )
    # Side in pixels of a block of "local_2d". A block of "local_1d" has as many positions.
    attention_block: int = 16
    # How kernels and embeddings are initialised.
    init: Literal["xavier", "orthogonal"] = "xavier"

    @property
    def discriminator_attention(self) -> tuple[int, ...]:
        """Sizes of its maps with self-attention: none where the generator has none."""
        if self.attention_d is None or not self.attention:
            return self.attention
        return self.attention_d


class Widths(NamedTuple):
    """Channels of each block, in multiples of the base width."""

    g_first: int  # of the small map that z becomes
    g: tuple[int, ...]  # each block doubles the size
    d: tuple[int, ...]
    d_down: int  # number of blocks, from the first, that halve the size; the rest keep it


# By how often the generator doubles its first map, which has 4 to 7 px: the widths of the published
# networks of 32 px (StudioGAN), 128 px (SAGAN), 64 and 256 px (StudioGAN) and 512 px (BigGAN).
WIDTHS = {
    1: Widths(4, (4,), (2, 2, 2), 1),
    2: Widths(4, (4, 4), (2, 2, 2), 2),
    3: Widths(4, (4, 4, 4), (2, 2, 2, 2), 2),
    4: Widths(16, (8, 4, 2, 1), (1, 2, 4, 8, 16), 4),
    5: Widths(16, (16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
    6: Widths(16, (16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6),
    7: Widths(16, (16, 8, 8, 4, 2, 1, 1), (1, 1, 2, 4, 8, 8, 16, 16), 7),
}
SIZES = sorted(first << doublings for doublings in WIDTHS for first in (4, 5, 6, 7))


def widths_of(image_size: int) -> tuple[int, Widths]:
    """Returns the side in pixels of the map that z becomes, and the widths.

    Raises: ConfigError if no network makes images of this size.
    """
    if image_size not in SIZES:
        raise ConfigError(f"model.image_size={image_size}; allowed: {', '.join(map(str, SIZES))}")
    doublings = next(n for n in WIDTHS if image_size >> n in (4, 5, 6, 7))
    return image_size >> doublings, WIDTHS[doublings]


def check(config: Config) -> None:
    """Raises: ConfigError if the networks have no such image size or feature map."""
    size = config.image_size
    first, widths = widths_of(size)
    maps = {  # feature map size -> channels of the last block that has it
        "attention": {first << i: config.g_channels * m for i, m in enumerate(widths.g, 1)},
        "attention_d": dict(_d_maps(config)),
    }
    wanted = {"attention": config.attention, "attention_d": config.discriminator_attention}
    for field, sizes in wanted.items():
        for attention in sizes:
            channels = maps[field].get(attention)
            if channels is None:
                allowed = ", ".join(map(str, sorted(maps[field])))
                raise ConfigError(
                    f"model.{field}: no {attention} px feature map at image_size={size}; "
                    f"allowed: {allowed}, or none"
                )
            if channels % 8:
                raise ConfigError(
                    f"model.{field}={attention} has {channels} channels there; "
                    "attention needs a multiple of 8"
                )
            pooled = config.attention_variant == "released"
            if pooled and attention % 2:
                raise ConfigError(
                    f"model.{field}={attention} is odd, but attention_variant=released pools keys "
                    "in pairs; allowed: even sizes, or attention_variant=paper"
                )
            form, block = config.attention_form, config.attention_block
            wrong = check_block(form, block, attention, pooled=pooled)
            if wrong:
                raise ConfigError(
                    f"model.attention_block={block} with {form} at {attention} px; {wrong}"
                )
    if isinstance(config.num_classes, str):
        raise ConfigError(f"model.num_classes={config.num_classes!r} was not resolved")


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
    platform = platform or hardware.current()
    dtype = jnp.dtype(config.dtype)
    init = {
        "xavier": nn.initializers.glorot_uniform(),
        "orthogonal": nn.initializers.orthogonal(),
    }[config.init]

    def conv(kind: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
        return kind(*args, dtype=dtype, kernel_init=init, platform=platform, **kwargs)

    attention = partial(
        SelfAttention,
        config.attention_variant,
        config.attention_form,
        config.attention_block,
        kernel_init=init,
        dtype=dtype,
        platform=platform,
    )
    norm = partial(
        BatchNorm,
        decay=config.batch_norm_decay,
        epsilon=config.batch_norm_epsilon,
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
        dtype=dtype,
    )
    return Networks(
        Generator(config, conv=conv, norm=norm, attention=attention, kernel_init=init),
        Discriminator(config, conv=conv, attention=attention, kernel_init=init),
        loops_on_cpu=True,
    )


class Generator(nn.Module):
    """Makes images from latents and, if there are classes, labels or weights of classes (B, K).

    Source: SAGAN (arXiv:1805.08318), released `generator.py`.
    """

    config: Config
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    attention: Callable[..., nn.Module]
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], label: Condition, *, train: bool
    ) -> Float[Array, "B S S 3"]:
        config = self.config
        base = config.g_channels
        side, widths = widths_of(config.image_size)
        dtype = jnp.dtype(config.dtype)
        norm = partial(self.norm, config.num_classes)
        first = base * widths.g_first
        x = nn.Dense(side * side * first, dtype=dtype, kernel_init=self.kernel_init, name="linear")(
            z
        )
        x = x.reshape(-1, side, side, first)
        for number, multiple in enumerate(widths.g, 1):
            block = GeneratorBlock(base * multiple, self.conv, norm, name=f"block{number}")
            x = block(x, label, train=train)
            size = x.shape[1]
            if size in config.attention:
                x = self.attention(name=f"attention_{size}")(x)
        x = nn.relu(self.norm(None, name="norm")(x, None, train=train))
        x = self.conv(Conv, 3, 3, name="output")(x)
        return jnp.tanh(x.astype(jnp.float32))


class Discriminator(nn.Module):
    """Returns a logit for each image, or what its conditioning needs; see `Head`.

    Source: SAGAN, released `discriminator.py`.
    """

    config: Config
    conv: Callable[..., nn.Module]
    attention: Callable[..., nn.Module]
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(
        self, image: Float[Array, "B S S 3"], label: Int[Array, " B"] | None, *, train: bool
    ) -> Float[Array, " B"] | Judged:
        config = self.config
        base, (_, widths) = config.d_channels, widths_of(config.image_size)
        pending = set(config.discriminator_attention)
        x = image.astype(config.dtype)
        for number, multiple in enumerate(widths.d, 1):
            down = number <= widths.d_down
            block = DiscriminatorBlock(
                base * multiple, down, self.conv, first=number == 1, name=f"block{number}"
            )
            x = block(x)
            size = x.shape[1]
            if size in pending:
                x = self.attention(name=f"attention_{size}")(x)
                pending.remove(size)
        h = nn.relu(x).sum((1, 2), dtype=jnp.float32)  # (B, C); sum, not mean
        assert not isinstance(config.num_classes, str)
        head = Head(
            config.num_classes,
            config.d_conditioning,
            self.kernel_init,
            config.d_sliced,
            config.d_embed_dim,
        )
        nn.share_scope(self, head)  # its layers belong to this module
        return head(h, label, train=train)


def _d_maps(config: Config) -> list[tuple[int, int]]:
    """Lists the discriminator's feature map sizes, with the channels of the first block of each."""
    _, widths = widths_of(config.image_size)
    sizes: dict[int, int] = {}
    size = config.image_size
    for number, multiple in enumerate(widths.d, 1):
        size = size // 2 if number <= widths.d_down else size
        sizes.setdefault(size, config.d_channels * multiple)
    return list(sizes.items())
