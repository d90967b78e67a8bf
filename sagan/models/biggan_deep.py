"""BigGAN-deep: bottleneck blocks of four convolutions, conditioned on class and whole latent.

The skips have no convolution in the generator: they keep the first channels, and the discriminator
appends new ones. 8 to 512 px.

Source: BigGAN (arXiv:1809.11096), Appendix B; layers of BigGAN-PyTorch, which are those of the
authors' released generators (128, 256, 512 px).
"""

import dataclasses
from functools import partial
from typing import Annotated, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sagan.config.fields import Count, Limits, require
from sagan.models import Networks
from sagan.models.layers.conv import Conv, UpConv, average_pool, upsample
from sagan.models.layers.head import Judged
from sagan.models.layers.norm import ClassTable, Condition
from sagan.models.layers.parts import (
    INITIALIZERS,
    AttentionConfig,
    Init,
    Parts,
    check_shared,
    first_of_each_size,
    parts,
)
from sagan.parallel.platform import Platform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AttentionConfig):
    """BigGAN-deep's fields of the section `model`."""

    # Base width of the generator. Each block has a multiple of it in channels.
    g_channels: Count = 128
    # Base width of the discriminator.
    d_channels: Count = 128
    # Blocks of the generator for each size of feature map. The last one doubles the size.
    g_depth: Count = 2
    # Blocks of the discriminator for each size of feature map. The first one halves the size.
    d_depth: Count = 2
    # Length of the class vector that all norms of the generator share.
    shared_dim: Count = 128
    # What the skips of the discriminator's blocks take: the block's input, or its positive part
    # ("relu", as in StudioGAN).
    d_skip: Literal["input", "relu"] = "input"
    # Sets of batch statistics, for truncations from 0 to 1 in equal steps, as the authors' released
    # generators have them; none: one for all. Training makes one.
    statistics_sets: Annotated[int, Limits(at_least=2)] | None = None
    # How kernels and embeddings are initialised; "normal": with a standard deviation of 0.02.
    init: Init = "orthogonal"


class Widths(NamedTuple):
    """Channels, in multiples of the base width: of the first map, then after each stage."""

    g: tuple[int, ...]  # each stage doubles the size
    d: tuple[int, ...]
    d_down: int  # number of stages, from the first, that halve the size; the rest keep it


WIDTHS = {
    8: Widths((4, 4), (4, 4, 4), 1),
    16: Widths((4, 4, 4), (4, 4, 4), 2),
    32: Widths((4, 4, 4, 4), (4, 4, 4, 4), 2),
    64: Widths((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4),
    128: Widths((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
    256: Widths((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6),
    512: Widths((16, 16, 8, 8, 4, 2, 1, 1), (1, 1, 2, 4, 8, 8, 16, 16), 7),
}


def check(config: Config) -> None:
    """Raises: ConfigError if the networks have no such image size, width or feature map."""
    size = config.image_size
    require(size in WIDTHS, f"model.image_size={size}; allowed: {', '.join(map(str, WIDTHS))}")
    for field in ("g_channels", "d_channels"):
        channels = getattr(config, field)
        require(channels % 4 == 0, f"model.{field}={channels}; allowed: multiples of 4")
    widths = WIDTHS[size]
    g_maps = {4 << n: config.g_channels * m for n, m in enumerate(widths.g) if n}
    d_maps = [
        (size >> min(n, widths.d_down), config.d_channels * m) for n, m in enumerate(widths.d) if n
    ]
    check_shared(config, g_maps, first_of_each_size(d_maps))


def build(
    config: Config,
    axis_name: str | None = None,
    axis_index_groups: tuple[tuple[int, ...], ...] | None = None,
    platform: Platform | None = None,
) -> Networks:
    """Makes both networks; arguments and errors as `sagan.build`."""
    check(config)
    layers = parts(config, INITIALIZERS[config.init], axis_name, axis_index_groups, platform)
    widths = WIDTHS[config.image_size]
    return Networks(
        Generator(config, widths, layers), Discriminator(config, widths, layers), loops_on_cpu=True
    )


class UpBlock(nn.Module):
    """Norm and ReLU before each of: 1x1 conv to a quarter, 3x3 (after doubling), 3x3, 1x1.

    The skip keeps the first `features` channels.
    """

    features: int
    up: bool
    layers: Parts

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], condition: Condition, *, train: bool
    ) -> Float[Array, "B H2 W2 F"]:
        conv = self.layers.conv
        hidden = x.shape[-1] // 4
        second = partial(conv, UpConv, hidden) if self.up else partial(conv, Conv, hidden, 3)
        convs = (
            partial(conv, Conv, hidden, 1),
            second,
            partial(conv, Conv, hidden, 3),
            partial(conv, Conv, self.features, 1),
        )
        h = x
        for number, make in enumerate(convs, 1):
            norm = self.layers.norm(None, name=f"norm{number}")
            h = make(name=f"conv{number}")(nn.relu(norm(h, condition, train=train)))
        skip = x[..., : self.features]
        return h + (upsample(skip) if self.up else skip)


class DownBlock(nn.Module):
    """ReLU before each of: 1x1 conv to a quarter of `features`, 3x3, 3x3, (pool), 1x1.

    The skip is pooled too; where channels are missing, a 1x1 convolution of it appends them.
    """

    features: int
    down: bool
    layers: Parts
    relu_skip: bool

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 F"]:
        conv = self.layers.conv
        hidden = self.features // 4
        h = nn.relu(x)
        skip = h if self.relu_skip else x
        for number, size in enumerate((1, 3, 3), 1):
            h = nn.relu(conv(Conv, hidden, size, name=f"conv{number}")(h))
        if self.down:
            h, skip = average_pool(h), average_pool(skip)
        h = conv(Conv, self.features, 1, name="conv4")(h)
        missing = self.features - x.shape[-1]
        if missing:
            more = conv(Conv, missing, 1, name="skip")(skip)
            skip = jnp.concatenate([skip, more], axis=-1)
        return h + skip


class Generator(nn.Module):
    """Makes images from latents and, if there are classes, labels or weights of classes (B, K).

    Class vector and latent, in this order, are the input of the first layer and of every norm.
    """

    config: Config
    widths: Widths
    layers: Parts

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], label: Condition, *, train: bool
    ) -> Float[Array, "B S S 3"]:
        config, layers = self.config, self.layers
        condition = z
        if config.num_classes is not None:
            assert isinstance(config.num_classes, int) and label is not None
            table = ClassTable(
                config.num_classes, config.shared_dim, layers.kernel_init, name="shared"
            )
            condition = jnp.concatenate([table(label), z], axis=1)
        first, *stages = (config.g_channels * multiple for multiple in self.widths.g)
        dense = nn.Dense(
            16 * first, dtype=config.dtype, kernel_init=layers.kernel_init, name="linear"
        )
        x = dense(condition).reshape(-1, 4, 4, first)
        for stage, features in enumerate(stages, 1):
            for number in range(1, config.g_depth + 1):
                last = number == config.g_depth
                block = UpBlock(
                    features if last else x.shape[-1], last, layers, name=f"block{stage}_{number}"
                )
                x = block(x, condition, train=train)
            size = x.shape[1]
            if size in config.attention:
                x = layers.attention(name=f"attention_{size}")(x)
        x = nn.relu(layers.norm(None, name="norm")(x, None, train=train))
        return jnp.tanh(layers.conv(Conv, 3, 3, name="output")(x).astype(jnp.float32))


class Discriminator(nn.Module):
    """Returns a logit for each image. With classes, the label's embedding projects its features."""

    config: Config
    widths: Widths
    layers: Parts

    @nn.compact
    def __call__(
        self, image: Float[Array, "B S S 3"], label: Int[Array, " B"] | None, *, train: bool
    ) -> Float[Array, " B"] | Judged:
        config, layers = self.config, self.layers
        first, *stages = (config.d_channels * multiple for multiple in self.widths.d)
        pending = set(config.discriminator_attention)
        x = layers.conv(Conv, first, 3, name="input")(image.astype(config.dtype))
        for stage, features in enumerate(stages, 1):
            for number in range(1, config.d_depth + 1):
                block = DownBlock(
                    features,
                    number == 1 and stage <= self.widths.d_down,
                    layers,
                    relu_skip=config.d_skip == "relu",
                    name=f"block{stage}_{number}",
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
