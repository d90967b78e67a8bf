"""Models: one file here is one pair of networks, found by its name in `model.name`.

A model's file defines

    check(config: ModelConfig) -> None      # raises ConfigError; imports no jax when called
    build(config: ModelConfig, axis_name=None, axis_index_groups=None) -> Networks

and nothing else needs to know of it. The networks are flax modules called as

    generator(z (B, z_dim), label (B,) or None, *, train) -> image (B, S, S, 3) in [-1, 1]
    discriminator(image, label or None, *, train) -> logits (B,), higher = real

with float32 outputs. Leaves named `kernel` or `embedding` are spectrally normalised from outside
where the config asks for it; batch norm takes its statistics over `axis_name`.
"""

from typing import NamedTuple

import flax.linen as nn

from sagan.config import ModelConfig as GanConfig  # noqa


class Networks(NamedTuple):
    """What `build` returns."""

    generator: nn.Module
    discriminator: nn.Module
    loops_on_cpu: bool = False
