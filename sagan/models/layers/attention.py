"""Self-attention over the positions of a feature map."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sagan.models.layers import attend
from sagan.models.layers.conv import Conv
from sagan.parallel.platform import Platform


class SelfAttention(nn.Module):
    """Adds to each position what it gathers from other positions, times `gamma`.

    The parameter `gamma` starts at 0, so a new layer is the identity. If the collection
    `intermediates` is mutable, the map of weights is stored there as `attention`, whatever the
    form: (B, H * W, H * W / 4), or (B, H * W, H * W) in the variant `paper`; rows sum to 1.

    Attributes:
      variant: `released`: keys and values 2x2 max-pooled, C/2 value channels, as in the authors'
        code; `paper`: neither, C/8 value channels.
      form, block: how attention is computed, and the block size of local forms; see `attend`. The
        parameters do not depend on them.
      kernel_init: of the four 1x1 convolutions, which have no biases.
      dtype: of the projections. Scores and softmax are float32, because scores are not scaled.
      platform: where it will run; None: the hardware of this process.

    Raises: ValueError if H or W is odd (`released`) or C is not a multiple of 8.
    Source: SAGAN (arXiv:1805.08318), Eq. 1-3.
    """

    variant: str = "released"
    form: str = "auto"
    block: int = 16
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
    dtype: DTypeLike = jnp.float32
    platform: Platform | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        b, h, w, c = x.shape
        released = self.variant == "released"
        if c % 8 or (released and (h % 2 or w % 2)):
            raise ValueError(f"SelfAttention needs C % 8 == 0 and even H and W, got {x.shape}")
        value_channels = c // 2 if released else c // 8

        def project(features: int, name: str, pool: bool) -> Array:
            y = self._conv(features, name)(x)
            if pool:
                # On CPUs the gradient of a maximum is far cheaper than that of a window reduction.
                y = y.reshape(b, h // 2, 2, w // 2, 2, features).max((2, 4))
            return y

        query = project(c // 8, "query", pool=False)  # (B, H, W, C/8)
        key = project(c // 8, "key", pool=released)  # (B, H/2, W/2, C/8)
        value = project(value_channels, "value", pool=released)  # (B, H/2, W/2, C/2)

        # Eq. 1 and 2
        if self.is_mutable_collection("intermediates"):
            gathered, weights = attend.gather_with_map(self.form, self.block, query, key, value)
            self.sow("intermediates", "attention", weights)
        else:
            gathered = attend.gather(self.form, self.block, query, key, value, self.platform)

        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        out = self._conv(c, "output")(gathered)
        return x + gamma.astype(self.dtype) * out  # Eq. 3

    def _conv(self, features: int, name: str) -> Conv:
        return Conv(
            features, 1, use_bias=False, dtype=self.dtype, kernel_init=self.kernel_init, name=name
        )
