"""Attention over all positions in one kernel, on hardware that has such a kernel.

| kernel | hardware | maps |
|---|---|---|
| `cudnn` | NVIDIA GPUs of compute capability 8 or higher | 16-bit, at most 128 channels |
| `pallas` | TPUs | as many queries, and as many keys, as some multiple of 128 |

The kernels never hold the map of weights in memory, forwards or backwards. They want queries, keys
and values of one width, so zeros are appended to the channels. In queries and keys zeros add
nothing to the scores.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from sagan.models.layers.chunked_attention import memory_efficient
from sagan.models.layers.local_attention import Gathered, Keys, Queries, Values
from sagan.parallel.platform import Platform

Maps = tuple[Array, ...]  # queries, keys and values
Kernel = Callable[[Queries, Keys, Values], Gathered]

_CUDNN_CHANNELS = 128
_CUDNN_DTYPES = (jnp.bfloat16, jnp.float16)
_LANES = 128  # a TPU's registers hold rows of 128 numbers
_BLOCK = 512  # queries, or keys, that a TPU works on at a time
_WHOLE_KEYS = 1024  # up to so many keys, a block of queries sees all keys at once


def kernel_for(query: Any, key: Any, value: Any, platform: Platform) -> Kernel | None:
    """Returns the kernel that computes attention of these maps on a platform; None if it has none.

    Args:
      query, key, value: maps (B, H, W, C), or only their shapes and dtypes.
    """
    positions = [x.shape[1] * x.shape[2] for x in (query, key)]
    if platform.backend == "tpu" and all(n % _LANES == 0 for n in positions):
        return pallas
    capability = platform.compute_capability  # AMD's is no number: gfx942
    new_enough = capability[:1].isdigit() and float(capability) >= 8
    channels = max(query.shape[-1], value.shape[-1])
    fits = channels <= _CUDNN_CHANNELS and value.dtype in _CUDNN_DTYPES
    return cudnn if platform.backend == "gpu" and new_enough and fits else None


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def flash(query: Queries, key: Keys, value: Values, kernel: Kernel) -> Gathered:
    """Computes full attention by a kernel.

    Gradient penalties need a second gradient, which no kernel has. That of `memory_efficient` is
    used, since it is the same.
    """
    return kernel(query, key, value)


def _forwards(query: Queries, key: Keys, value: Values, kernel: Kernel) -> tuple[Gathered, Any]:
    maps = query, key, value
    out, pullback = jax.vjp(kernel, *lax.stop_gradient(maps))
    return _with_gradient_of(memory_efficient, out, *maps), (pullback, maps)


def _backwards(_: Kernel, saved: Any, g: Gathered) -> Maps:
    pullback, maps = saved
    return _with_gradient_of(_efficient_gradient, pullback(lax.stop_gradient(g)), maps, g)


flash.defvjp(_forwards, _backwards)


def _efficient_gradient(maps: Maps, g: Gathered) -> Maps:
    return jax.vjp(memory_efficient, *maps)[1](g)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _with_gradient_of(function: Callable[..., Any], result: Any, *arguments: Any) -> Any:
    """Returns `result`, the result of `function(*arguments)`, with that function's gradient."""
    return result


_with_gradient_of.defvjp(
    lambda function, result, *arguments: (result, arguments),
    lambda function, arguments, g: (None, *jax.vjp(function, *arguments)[1](g)),
)


def cudnn(
    query: Queries,
    key: Keys,
    value: Values,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Gathered:
    """Calls cuDNN's attention, which takes widths that are multiples of 8.

    Args:
      implementation: of `jax.nn.dot_product_attention`; `xla` computes the same on all hardware.
    """
    one_head = [x[:, :, None] for x in _padded(8, query, key, value)]
    out = jax.nn.dot_product_attention(*one_head, scale=1.0, implementation=implementation)
    return _unpadded(out[:, :, 0], query, value)


def pallas(query: Queries, key: Keys, value: Values) -> Gathered:
    """Calls the Pallas kernel for TPUs that jax ships."""
    # Imported here, since it takes long, and other hardware does not need it.
    from jax.experimental.pallas.ops.tpu import flash_attention

    q, k, v = (x[:, None] for x in _padded(_LANES, query, key, value))
    queries, keys = (_block(x.shape[2]) for x in (q, k))
    seen = k.shape[2] if k.shape[2] <= _WHOLE_KEYS else keys
    sizes = flash_attention.BlockSizes(
        block_b=1, block_q=queries, block_k_major=seen, block_k=seen,
        block_q_major_dkv=queries, block_q_dkv=queries,
        block_k_major_dkv=keys, block_k_dkv=keys,
        block_q_dq=queries, block_k_major_dq=keys, block_k_dq=keys,
    )  # fmt: skip
    out = flash_attention.flash_attention(q, k, v, block_sizes=sizes)
    return _unpadded(out[:, 0], query, value)


def _block(positions: int) -> int:
    """Returns the largest divisor of a number of positions that is a multiple of 128, up to 512."""
    return max(n for n in range(_LANES, _BLOCK + 1, _LANES) if positions % n == 0)


def _padded(multiple: int, *maps: Array) -> list[Array]:
    """Returns maps as (B, positions, width): one width for all, a multiple of `multiple`."""
    width = -(-max(x.shape[-1] for x in maps) // multiple) * multiple
    flat = [x.reshape(len(x), -1, x.shape[-1]) for x in maps]
    return [jnp.pad(x, [(0, 0), (0, 0), (0, width - x.shape[-1])]) for x in flat]


def _unpadded(out: Array, query: Queries, value: Values) -> Gathered:
    return out[..., : value.shape[-1]].reshape(*query.shape[:-1], -1)
