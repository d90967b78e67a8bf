"""BigGAN: SAGAN's networks with latents and a shared class embedding in every block, 8 to 896 px.

With `model.hierarchical=false` and `model.shared_dim=0` the generator is SAGAN's: each norm has its
own table of classes. The discriminator is SAGAN's, but for the widths.

Source: BigGAN (arXiv:1809.11096), Appendix B; widths of BigGAN-PyTorch and StudioGAN.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from sagan.config.fields import Count, CountOrZero, Positive, require
from sagan.models import Networks, sagan
from sagan.models.layers.conv import Conv
from sagan.models.layers.norm import ClassTable, Condition
from sagan.models.layers.parts import INITIALIZERS, Init, Parts, parts
from sagan.models.layers.resblock import GeneratorBlock
from sagan.models.sagan import Widths
from sagan.parallel.platform import Platform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(sagan.Config):
    """BigGAN's fields of the section `model`."""

    # Number of latent values that an image is made from. With `model.hierarchical`, a multiple of
    # the number of blocks plus 1.
    z_dim: Count = 120
    # Sizes in pixels of the feature maps that get self-attention; none: no attention.
    attention: tuple[int, ...] = ()
    # Base width of the generator. Each block has a multiple of it in channels.
    g_channels: Count = 96
    # Base width of the discriminator.
    d_channels: Count = 96
    # How kernels and embeddings are initialised; "normal": with a standard deviation of 0.02.
    init: Init = "orthogonal"
    # Whose multiples of the base widths: BigGAN-PyTorch's, or StudioGAN's, which has a narrower
    # discriminator at 32 px and a narrower generator at 64 px.
    widths: Literal["biggan_pytorch", "studiogan"] = "biggan_pytorch"
    # Give each block of the generator a part of the latent values, besides the first layer.
    hierarchical: bool = True
    # Length of the class vector that all norms of the generator share; 0: each has a table.
    shared_dim: CountOrZero = 128
    # `batch_norm_epsilon` of the generator's last norm; none: the same as in the blocks.
    output_norm_epsilon: Positive | None = None


WIDTHS = sagan.of_sizes(
    sagan.BY_DOUBLINGS
    | {3: Widths(4, (4, 4, 4), (4, 4, 4, 4), 2), 4: Widths(16, (16, 8, 4, 2), (1, 2, 4, 8, 16), 4)}
)


def table(config: Config) -> Mapping[int, Widths]:
    """Returns the widths of all image sizes."""
    return sagan.WIDTHS if config.widths == "studiogan" else WIDTHS


def check(config: Config) -> None:
    """Raises: ConfigError if the networks have no such image size, feature map or latents."""
    sagan.check_widths(config, table(config))
    if config.hierarchical:
        slots = 1 + len(table(config)[config.image_size].g)
        require(
            config.z_dim % slots == 0,
            f"model.z_dim={config.z_dim} at image_size={config.image_size}; "
            f"allowed: multiples of {slots}, or model.hierarchical=false",
        )
        require(
            config.shared_dim > 0 or config.num_classes is None,
            "model.hierarchical=true with model.shared_dim=0; allowed: a shared_dim of 1 or more, "
            "because a norm that has a table of classes takes no latents",
        )


def build(
    config: Config,
    axis_name: str | None = None,
    axis_index_groups: tuple[tuple[int, ...], ...] | None = None,
    platform: Platform | None = None,
) -> Networks:
    """Makes both networks; arguments and errors as `sagan.build`."""
    check(config)
    kernel_init = INITIALIZERS[config.init]
    layers = parts(config, kernel_init, axis_name, axis_index_groups, platform)
    widths = table(config)[config.image_size]
    return Networks(
        Generator(config, widths, layers),
        sagan.Discriminator(config, widths, layers),
        loops_on_cpu=True,
    )


class Generator(nn.Module):
    """Makes images from latents and, if there are classes, labels or weights of classes (B, K).

    With hierarchical latents z is cut into equal chunks. The first goes to the linear layer, and
    each next one, behind the shared class vector, conditions the norms of one block.
    """

    config: Config
    widths: Widths
    layers: Parts

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], label: Condition, *, train: bool
    ) -> Float[Array, "B S S 3"]:
        config, layers = self.config, self.layers
        base, first = config.g_channels, config.g_channels * self.widths.g_first
        blocks = len(self.widths.g)
        chunks = jnp.split(z, blocks + 1, axis=1) if config.hierarchical else [z]
        shared = None
        if config.num_classes is not None and config.shared_dim:
            assert isinstance(config.num_classes, int) and label is not None
            table = ClassTable(
                config.num_classes, config.shared_dim, layers.kernel_init, name="shared"
            )
            shared = table(label)
        vectors = [] if shared is None else [shared]
        plain = not (vectors or config.hierarchical)  # a table in each norm, or no condition
        norm = partial(layers.norm, config.num_classes if plain else None)

        side = sagan.first_side(config.image_size, self.widths)
        dense = nn.Dense(
            side * side * first, dtype=config.dtype, kernel_init=layers.kernel_init, name="linear"
        )
        x = dense(chunks[0]).reshape(-1, side, side, first)
        for number, multiple in enumerate(self.widths.g, 1):
            condition = label
            if not plain:
                condition = jnp.concatenate([*vectors, *chunks[number : number + 1]], axis=1)
            block = GeneratorBlock(base * multiple, layers.conv, norm, name=f"block{number}")
            x = block(x, condition, train=train)
            size = x.shape[1]
            if size in config.attention:
                x = layers.attention(name=f"attention_{size}")(x)
        epsilon = config.output_norm_epsilon or config.batch_norm_epsilon
        x = nn.relu(layers.norm(None, epsilon=epsilon, name="norm")(x, None, train=train))
        return jnp.tanh(layers.conv(Conv, 3, 3, name="output")(x).astype(jnp.float32))
