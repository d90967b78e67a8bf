"""Networks: one file here is one family, found by its name in `model.name`.

The file of a family, here or a module of yours, defines three things:

    class Config(ModelConfig)      # its fields of the section `model`; GANs inherit `GanConfig`
    check(config) -> None          # raises ConfigError where fields do not fit one another
    build(config, axis_name=None, axis_index_groups=None, platform=None) -> Networks

This is so for GANs; what `build` returns for another task is said there.
`Config` is required, so that `model.*` offers exactly the fields that the family has. `build` gets
a config whose `num_classes` is a number or None; batch norm takes its statistics over `axis_name`.
`platform` is the hardware that the networks will run on; None: that of this process. The networks
are flax modules, called as

    generator(z (B, z_dim), label (B,) or None, *, train) -> image (B, S, S, 3) in [-1, 1]
    discriminator(image, label or None, *, train) -> logits (B,), higher = real; or Judged

with float32 outputs. A discriminator that honours `d_conditioning` and `d_sliced` ends in
`layers/head.Head`; while training, that returns the NamedTuple `Judged` where those fields ask for
more than logits. One that always returns plain logits may ignore them: training it with other
values than the defaults is refused.

A generator that also takes weights of classes (B, K) as `label`, and blends what the classes have
learned, can interpolate between classes; `layers/norm.BatchNorm` does. Either may have the
collection `batch_stats`: it is then called with `apply(variables, ..., train=True,
mutable=["batch_stats"])` while training, and returns the moved statistics as well. Parameters
called `kernel` or `embedding` are spectrally normalised from outside where the config asks for it;
see `layers/spectral.py`.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn

from sagan.config import ModelConfig
from sagan.config.fields import Count, Fraction, Positive
from sagan.models.layers.head import Conditioning


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanConfig(ModelConfig):
    """What every family of generator and discriminator has, because training them reads it."""

    # Number of latent values that an image is made from.
    z_dim: Count = 128
    # Divide the generator's weights by their largest singular values.
    spectral_norm_g: bool = True
    # Divide the discriminator's weights by their largest singular values.
    spectral_norm_d: bool = True
    # How the discriminator uses the labels: a row of sagan.tasks.gan.conditionings.CONDITIONINGS.
    d_conditioning: Conditioning = "projection"
    # Length of the embeddings of "contrastive" and "d2d_ce".
    d_embed_dim: Count = 512
    # The discriminator's last layer learns its direction apart from its length, for a sliced loss
    # such as train.loss=hinge_san.
    d_sliced: bool = False
    # Decay per step of batch norm's running averages.
    batch_norm_decay: Fraction = 0.9
    # Added to batch norm's variance, so that it is never zero.
    batch_norm_epsilon: Positive = 1e-5
    # Number of devices that share batch norm's statistics; none: all of them.
    batch_norm_group: Count | None = None


class Networks(NamedTuple):
    """What `build` returns.

    Attributes:
      loops_on_cpu: the convolutions of these networks are matrix products on a CPU, so a training
        step may be repeated in a loop there. XLA:CPU takes up to a hundred times longer for the
        gradient of a convolution inside a loop.
    """

    generator: nn.Module
    discriminator: nn.Module
    loops_on_cpu: bool = False
