"""Parameters that many positions of a feature map share."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def share(
    parameter: Float[Array, "b h w C"], shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "B H W C"]:
    """Broadcasts to `shape` in `dtype`; the gradient is summed in the parameter's own type.

    Left to itself a gradient would be summed in `dtype`, and in bfloat16 a sum of 257 ones is 256.
    """
    return jnp.broadcast_to(parameter.astype(dtype), shape)


def _forward(parameter, shape, dtype):
    return share(parameter, shape, dtype), parameter


def _backward(shape, dtype, parameter, cotangent):
    axes = tuple(i for i, n in enumerate(parameter.shape) if n != shape[i])
    return (cotangent.astype(parameter.dtype).sum(axes, keepdims=True),)


share.defvjp(_forward, _backward)
