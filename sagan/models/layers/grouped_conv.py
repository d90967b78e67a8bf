"""A 3x3 convolution whose channels are split into groups that do not see one another."""

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float

from sagan.models.layers.windows import windows
from sagan.parallel import platform as hardware
from sagan.parallel.platform import Platform


class GroupedConv(nn.Module):
    """Convolves each group of `group_width` channels with 3x3 kernels of its own, without bias.

    The output has as many channels as the input, and zero padding keeps H and W. The parameter
    `kernel` is float32 of shape (3, 3, group_width, C); the result has the dtype `dtype`.

    On a CPU it is one batched matrix product, because XLA has no fast grouped convolution there.

    Attributes:
      platform: the hardware to compute on; None: that of this process.

    Raises:
      ValueError: the number of channels is not a multiple of `group_width`.
    """

    group_width: int
    dtype: Dtype = jnp.float32
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    platform: Platform | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        channels = x.shape[-1]
        if channels % self.group_width:
            raise ValueError(f"{channels} channels are no multiple of {self.group_width}")
        shape = (3, 3, self.group_width, channels)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        x = x.astype(self.dtype)
        groups = channels // self.group_width
        if (self.platform or hardware.current()).backend == "cpu":
            return _product(x, kernel, groups)
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=groups
        )


def _product(
    x: Float[Array, "B H W C"], kernel: Float[Array, "3 3 g C"], groups: int
) -> Float[Array, "B H W C"]:
    b, h, w, channels = x.shape
    width = channels // groups
    split = x.reshape(b, h, w, groups, width).transpose(3, 0, 1, 2, 4)
    patches = windows(split).reshape(groups, b * h * w, 9 * width)
    matrices = kernel.reshape(9 * width, groups, width).transpose(1, 0, 2)
    return (
        (patches @ matrices)
        .reshape(groups, b, h, w, width)
        .transpose(1, 2, 3, 0, 4)
        .reshape(b, h, w, channels)
    )
