"""The networks of `dense_pair`, with a layer of self-attention in the generator.

Its name in a config is `model.name=support.attentive_pair`. It is for tests that run commands which
draw attention maps. It accepts SAGAN's fields of attention, but always attends at the image's size.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from support import dense_pair

from sagan.models import Networks
from sagan.models.layers.attention import SelfAttention

_CHANNELS = 8  # SelfAttention needs at least 8, because its keys have an eighth of them

check = dense_pair.check


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(dense_pair.Config):
    """Adds the fields with which SAGAN chooses the maps that have attention. They are ignored."""

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
