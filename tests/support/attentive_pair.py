"""The pair of `dense_pair`, with a layer of self-attention in the generator.

It is used as `model.name=support.attentive_pair` where commands are run of which some draw where a
generator looks. It has SAGAN's fields for that, but always attends at the size of the image.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from support import dense_pair

from sagan.models import Networks
from sagan.models.layers.attention import SelfAttention

_CHANNELS = 8  # the fewest that SelfAttention takes

check = dense_pair.check


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(dense_pair.Config):
    """Adds the sizes that a SAGAN attends at."""

    attention: tuple[int, ...] = (8,)
    attention_d: tuple[int, ...] | None = None


def build(config: Config, *args: Any, **kwargs: Any) -> Networks:
    pair = dense_pair.build(config, *args, **kwargs)
    return pair._replace(generator=Generator(pair.generator))


class Generator(nn.Module):
    plain: dense_pair.Generator

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], label: Int[Array, " B"] | None, *, train: bool
    ) -> Float[Array, "B S S 3"]:
        x = nn.Dense(_CHANNELS, name="widen")(self.plain(z, label, train=train))
        x = SelfAttention(name=f"attention_{self.plain.config.image_size}")(x)
        return jnp.tanh(nn.Dense(3, name="colours")(x))
