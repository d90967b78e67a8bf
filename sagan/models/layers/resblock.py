"""Residual blocks of the generator and the discriminator."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

from sagan.models.layers.conv import Conv, ConvPool, UpConv, average_pool, upsample
from sagan.models.layers.norm import Condition


class GeneratorBlock(nn.Module):
    """Doubles the size: norm, ReLU, upsample, conv, norm, ReLU, conv; plus a convolved skip.

    The skip always has a 1x1 convolution. It commutes with the upsampling, so it is done first,
    at a quarter of the cost.

    Attributes:
      features: output channels.
      conv: makes a layer of a class of `conv.py`, as `conv(UpConv, features, name=...)`.
      norm: makes a BatchNorm, as `norm(name=...)`.

    The condition that it is called with goes to both norms.

    Source: SAGAN's released generator; Miyato & Koyama (arXiv:1802.05637), Fig. 14.
    """

    features: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], condition: Condition, *, train: bool
    ) -> Float[Array, "B H2 W2 F"]:
        h = nn.relu(self.norm(name="norm1")(x, condition, train=train))
        h = self.conv(UpConv, self.features, name="conv1")(h)
        h = nn.relu(self.norm(name="norm2")(h, condition, train=train))
        h = self.conv(Conv, self.features, 3, name="conv2")(h)
        return h + upsample(self.conv(Conv, self.features, 1, name="skip")(x))


class DiscriminatorBlock(nn.Module):
    """Two 3x3 convolutions and a skip of the same input, both halved in size if `down`.

    The skip has a 1x1 convolution where the size or the number of channels changes. That commutes
    with the pooling, so it is done after it.

    Attributes:
      features: output channels.
      down: halve H and W by 2x2 average pooling.
      first: the input is an image, so there is no ReLU before the first convolution.
      conv: as in `GeneratorBlock`.
      hidden: channels between the two convolutions; None: as many as the output.
      relu_skip: the skip takes ReLU(x) instead of x, but in the first block.

    Source: SAGAN's released discriminator; Miyato & Koyama (arXiv:1802.05637), Fig. 14. The skip of
      ReLU(x) is StudioGAN's, whose ReLU overwrites x.
    """

    features: int
    down: bool
    conv: Callable[..., nn.Module]
    first: bool = False
    hidden: int | None = None
    relu_skip: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 F"]:
        h = x if self.first else nn.relu(x)
        x = h if self.relu_skip else x
        h = nn.relu(self.conv(Conv, self.hidden or self.features, 3, name="conv1")(h))
        if self.down:
            h = self.conv(ConvPool, self.features, name="conv2")(h)
            skip = average_pool(x)
        else:
            h = self.conv(Conv, self.features, 3, name="conv2")(h)
            skip = x
        if self.down or x.shape[-1] != self.features:
            skip = self.conv(Conv, self.features, 1, name="skip")(skip)
        return h + skip
