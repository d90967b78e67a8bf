"""Broadcasting a parameter over a feature map, with an exact gradient."""

import functools

import jax
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def broadcast_parameter(
    parameter: Float[Array, "b h w C"], shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "B H W C"]:
    """Broadcasts to `shape` in `dtype`; the gradient is summed in the parameter's own type.

    Otherwise jax would sum the gradient over all positions in `dtype`, and in bfloat16 the sum of
    257 ones is 256.
    """
    # If the types are equal, jax itself sums the gradient in the parameter's type.
    if parameter.dtype == dtype:
        return _broadcast(parameter, shape)
    return _cast(parameter, shape, dtype)


def _broadcast(parameter, shape):
    return lax.broadcast_in_dim(parameter, shape, range(parameter.ndim))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _cast(parameter, shape, dtype):
    return _broadcast(parameter.astype(dtype), shape)


def _forward(parameter, shape, dtype):
    return _cast(parameter, shape, dtype), parameter


def _backward(shape, dtype, parameter, cotangent):
    axes = tuple(i for i, n in enumerate(parameter.shape) if n != shape[i])
    return (cotangent.astype(parameter.dtype).sum(axes, keepdims=True),)


_cast.defvjp(_forward, _backward)
