"""Convolutions of the residual blocks: plain, after nearest upsampling, before average pooling.

All are exact up to rounding. On CPUs they are matrix products: see `cpu_convolution.py`. Elsewhere
they are ordinary convolutions. There, a 3x3 convolution that follows upsampling or precedes pooling
becomes one convolution of 4x4 taps with stride 2, which needs 16 products instead of 36.

The layers' `platform` is the hardware to compute on; None: that of this process.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float

from sagan.models.layers.broadcast import broadcast_parameter
from sagan.models.layers.cpu_convolution import Products, multiplies_bfloat16
from sagan.parallel import platform as hardware
from sagan.parallel.platform import Platform


class Conv(nn.Module):
    """Convolves with a `size` x `size` kernel, stride 1, zero padding that keeps H and W.

    Parameters and kernel gradients are float32; the sum is computed, and returned, in `dtype`.

    Raises:
      ValueError: `size` is neither 1 nor 3.
    """

    features: int
    size: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    platform: Platform | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W F"]:
        if self.size not in (1, 3):
            raise ValueError(f"Conv.size is 1 or 3, got {self.size}")
        return _apply(self, self.size, x, _convolve)


class UpConv(nn.Module):
    """Doubles H and W by repeating pixels, then convolves 3x3; parameters as `Conv(size=3)`."""

    features: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    platform: Platform | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W F"]:
        return _apply(self, 3, x, _upsample_convolve)


class ConvPool(nn.Module):
    """Convolves 3x3, then averages 2x2 blocks; parameters as `Conv(size=3)`.

    Raises:
      ValueError: H or W is odd.
    """

    features: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    platform: Platform | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H//2 W//2 F"]:
        return _apply(self, 3, x, _convolve_pool)


def _apply(layer, size: int, x, function):
    """Makes the layer's parameters and casts them to its dtype; returns `function` plus bias."""
    shape = (size, size, x.shape[-1], layer.features)
    kernel = layer.param("kernel", layer.kernel_init, shape, jnp.float32)
    platform = layer.platform or hardware.current()
    y = function(x.astype(layer.dtype), kernel.astype(layer.dtype), platform)
    if layer.use_bias:
        bias = layer.param("bias", nn.initializers.zeros, (layer.features,), jnp.float32)
        y = y + broadcast_parameter(bias.reshape(1, 1, 1, -1), y.shape, layer.dtype)
    return y


def uses_products(platform: Platform) -> bool:
    """Returns whether 3x3 convolutions are matrix products on a platform."""
    return platform.backend == "cpu"


def _convolve(x, kernel, platform):
    if kernel.shape[0] == 1:
        return x @ kernel[0, 0]
    if uses_products(platform):
        return Products.of(multiplies_bfloat16()).convolve(x, kernel)
    return _general(x, kernel)


def _upsample_convolve(x, kernel, platform):
    if uses_products(platform):
        return Products.of(multiplies_bfloat16()).upsample_convolve(x, kernel)
    return _unstride(x, _box_filtered(kernel[::-1, ::-1]).swapaxes(2, 3))


def _convolve_pool(x, kernel, platform):
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(f"ConvPool needs an even height and width, got {x.shape}")
    if uses_products(platform):
        return Products.of(multiplies_bfloat16()).convolve_pool(x, kernel)
    return _stride(x, _box_filtered(kernel) / 4)


def _general(x, kernel, strides=(1, 1), padding: Any = "SAME"):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)


def _halved(x, kernel):
    return _general(x, kernel, (2, 2), ((1, 1), (1, 1)))


# `_stride` is a convolution of stride 2, `_unstride` its transpose, each the other's gradient.
# XLA gives a transposed convolution to cuDNN only if it has the form of such a gradient, with the
# kernel reversed. Otherwise it inserts zeros between the pixels, and the gradient by the kernel
# becomes a convolution with a window as large as the map.
@jax.custom_vjp
def _stride(x, kernel):
    return _halved(x, kernel)


@jax.custom_vjp
def _unstride(x, kernel):
    b, h, w, _ = x.shape
    # Without the barrier XLA moves the kernel's reversal into the computation of the kernel.
    kernel = lax.optimization_barrier(kernel)
    return _transposed(lambda y: _halved(y, kernel), (b, 2 * h, 2 * w, kernel.shape[2]), x)


def _by_kernel(x, kernel, g):
    """Returns the gradient by `kernel` of the sum of `_stride(x, kernel) * g`."""
    return _transposed(lambda kernel: _halved(x, kernel), kernel.shape, g)


def _transposed(linear, shape, x):
    transpose: Any = jax.linear_transpose(linear, jax.ShapeDtypeStruct(shape, x.dtype))
    return transpose(x)[0]


_stride.defvjp(
    lambda x, kernel: (_stride(x, kernel), (x, kernel)),
    lambda given, g: (_unstride(g, given[1]), _by_kernel(given[0], given[1], g)),
)
_unstride.defvjp(
    lambda x, kernel: (_unstride(x, kernel), (x, kernel)),
    lambda given, g: (_stride(g, given[1]), _by_kernel(g, given[1], given[0])),
)


def _box_filtered(kernel):
    """Returns the 4x4 kernel that is `kernel` summed over 2x2 neighbouring positions.

    A convolution with it and stride 2 is the 3x3 convolution followed by a sum over 2x2 pixels. Its
    transpose is the 3x3 convolution of repeated pixels.
    """
    for axis in (0, 1):
        before, after = ([(0, 0)] * 4 for _ in range(2))
        before[axis], after[axis] = (1, 0), (0, 1)
        kernel = jnp.pad(kernel, before) + jnp.pad(kernel, after)
    return kernel


def upsample(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W C"]:
    """Repeats each pixel into a 2x2 block."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def average_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B H//2 W//2 C"]:
    """Averages 2x2 blocks.

    Raises:
      ValueError: H or W is odd.
    """
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(f"average_pool needs an even height and width, got {x.shape}")
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
