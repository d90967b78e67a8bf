"""What several families of GANs share: their fields of self-attention, and layers ready to use."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.models import GanConfig
from sagan.models.layers.attention import SelfAttention
from sagan.models.layers.head import Head
from sagan.models.layers.local_attention import check_block
from sagan.models.layers.norm import BatchNorm
from sagan.parallel import platform as hardware
from sagan.parallel.platform import Platform

Initializer = nn.initializers.Initializer
Init = Literal["xavier", "orthogonal", "normal"]
# Whenever a network is applied, Flax compares the shape of each parameter with the shape that its
# initializer returns, and traces the initializer to find that out. The initializers are jitted
# because jax remembers the trace of a jitted function and does not repeat it for the same shape.
INITIALIZERS: Mapping[str, Initializer] = {
    "xavier": jax.jit(nn.initializers.glorot_uniform(), static_argnums=(1, 2)),
    "orthogonal": jax.jit(nn.initializers.orthogonal(), static_argnums=(1, 2)),
    "normal": jax.jit(nn.initializers.normal(0.02), static_argnums=(1, 2)),
}

# Image sizes of networks whose smallest map has 4, 5, 6 or 7 px and is doubled one to seven times.
SIZES = sorted(first << n for first in (4, 5, 6, 7) for n in range(1, 8))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionConfig(GanConfig):
    """Fields of the families whose feature maps may have self-attention."""

    # Sizes in pixels of the feature maps that get self-attention; none: no attention.
    attention: tuple[int, ...] = ()
    # The same for the discriminator, where it differs from the generator; none: it does not.
    attention_d: tuple[int, ...] | None = None
    # "released": as in the authors' code, keys and values are pooled; "paper": as in their paper.
    attention_variant: Literal["released", "paper"] = "released"
    # How attention is computed. "full", "memory_efficient" and "flash" give the same result: at
    # once, in chunks, or in one kernel of TPUs or cuDNN (where there is none, in chunks). "auto":
    # "full" on maps smaller than 64 x 64; on others "flash" on TPUs, else "memory_efficient".
    # "local_1d" and "local_2d" look only at nearby positions.
    attention_form: Literal["auto", "full", "memory_efficient", "flash", "local_1d", "local_2d"] = (
        "auto"
    )
    # Side in pixels of a block of "local_2d". A block of "local_1d" has as many positions.
    attention_block: int = 16

    @property
    def discriminator_attention(self) -> tuple[int, ...]:
        """Sizes of its maps with self-attention: none where the generator has none."""
        if self.attention_d is None or not self.attention:
            return self.attention
        return self.attention_d


def check_shared(
    config: AttentionConfig, g_maps: Mapping[int, int], d_maps: Mapping[int, int]
) -> None:
    """Checks what all these families need.

    Args:
      g_maps, d_maps: for each size of the generator's and the discriminator's feature maps, the
        channels of the map that attention would see.

    Raises: ConfigError if attention does not fit its maps, or `num_classes` is not resolved.
    """
    for field, wanted, maps in (
        ("attention", config.attention, g_maps),
        ("attention_d", config.discriminator_attention, d_maps),
    ):
        for size in wanted:
            if size not in maps:
                allowed = ", ".join(map(str, sorted(maps)))
                raise ConfigError(
                    f"model.{field}: no {size} px feature map at image_size={config.image_size}; "
                    f"allowed: {allowed}, or none"
                )
            require(
                maps[size] % 8 == 0,
                f"model.{field}={size} has {maps[size]} channels there; "
                "attention needs a multiple of 8",
            )
            form, block = config.attention_form, config.attention_block
            pooled = config.attention_variant == "released"
            require(
                not (pooled and size % 2),
                f"model.{field}={size} is odd, but attention_variant=released pools keys in pairs; "
                "allowed: even sizes, or attention_variant=paper",
            )
            wrong = check_block(form, block, size, pooled=pooled)
            require(not wrong, f"model.attention_block={block} with {form} at {size} px; {wrong}")
    require(
        not isinstance(config.num_classes, str),
        f"model.num_classes={config.num_classes!r} was not resolved",
    )


class Parts(NamedTuple):
    """Makers of layers, with what a config says about them filled in.

    Attributes:
      conv: makes a layer of a class of `conv.py`, as `conv(UpConv, features, name=...)`.
      norm: makes a BatchNorm, as `norm(num_classes, name=...)`.
      attention: makes a SelfAttention, as `attention(name=...)`.
      head: makes the last layer of the discriminator, as `head()`.
      kernel_init: of all kernels and tables.
    """

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    attention: Callable[..., nn.Module]
    head: Callable[..., nn.Module]
    kernel_init: Initializer


def parts(
    config: AttentionConfig,
    kernel_init: Initializer,
    axis_name: str | None,
    axis_index_groups: tuple[tuple[int, ...], ...] | None,
    platform: Platform | None,
) -> Parts:
    """Returns the layers of a config; the arguments are those of a family's `build`."""
    platform = platform or hardware.current()
    dtype = jnp.dtype(config.dtype)

    def conv(kind: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
        kwargs = {"dtype": dtype, "kernel_init": kernel_init} | kwargs
        return kind(*args, platform=platform, **kwargs)

    attention = partial(
        SelfAttention,
        config.attention_variant,
        config.attention_form,
        config.attention_block,
        kernel_init=kernel_init,
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
        kernel_init=kernel_init,
    )
    assert not isinstance(config.num_classes, str)
    head = partial(
        Head,
        config.num_classes,
        config.d_conditioning,
        kernel_init,
        config.d_sliced,
        config.d_embed_dim,
    )
    return Parts(conv, norm, attention, head, kernel_init)


def halved(side: int) -> list[int]:
    """Returns the sides of maps from this one to that of 4 to 7 px, each half of the one before."""
    sides = [side]
    while sides[-1] >= 8:
        sides.append(sides[-1] // 2)
    return sides


def check_size(config: AttentionConfig) -> None:
    """Raises: ConfigError if the image size is not one of `SIZES`."""
    size = config.image_size
    require(size in SIZES, f"model.image_size={size}; allowed: {', '.join(map(str, SIZES))}")


def first_of_each_size(maps: list[tuple[int, int]]) -> dict[int, int]:
    """Returns the channels of the first map of each size, from a list of (size, channels)."""
    return dict(reversed(maps))
