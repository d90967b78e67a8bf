"""Convolutions of the residual blocks: plain, after nearest upsampling, before average pooling."""

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float


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

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W F"]:
        if self.size not in (1, 3):
            raise ValueError(f"Conv.size is 1 or 3, got {self.size}")
        return _convolve(self, self.size, x, _conv)


class UpConv(nn.Module):
    """Doubles H and W by repeating pixels, then convolves 3x3; parameters as `Conv(size=3)`."""

    features: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    kernel_init: Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W F"]:
        return _convolve(self, 3, x, lambda x, kernel: _conv(upsample(x), kernel))


class ConvPool(nn.Module):
    """Convolves 3x3, then averages 2x2 blocks; parameters as `Conv(size=3)`."""

    features: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    kernel_init: Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H//2 W//2 F"]:
        return _convolve(self, 3, x, lambda x, kernel: average_pool(_conv(x, kernel)))


def _convolve(layer, size: int, x, apply):
    """Makes the layer's parameters, casts them to its dtype and adds the bias to `apply`."""
    shape = (size, size, x.shape[-1], layer.features)
    kernel = layer.param("kernel", layer.kernel_init, shape, jnp.float32)
    y = apply(x.astype(layer.dtype), kernel.astype(layer.dtype))
    if layer.use_bias:
        bias = layer.param("bias", nn.initializers.zeros, (layer.features,), jnp.float32)
        y = y + bias.astype(layer.dtype).reshape(1, 1, 1, -1)
    return y


def _conv(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


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
