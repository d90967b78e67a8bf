"""3x3 convolutions as a few plain matrix products, for XLA:CPU.

XLA:CPU is quick at matrix products and at convolutions themselves, but a convolution's kernel
gradient runs at a quarter of that speed, and a hundred times slower inside a loop; a matrix
product runs as fast there. Here each convolution is

    y = Q(P(x) * U(kernel))         U(kernel): one (C, F) matrix for each of a few products

with linear maps P, U, Q whose coefficients are 0, 1, -1 and 1/2, so the result is the direct
sum up to float32 rounding. 2x2 pixels cost 16 products in place of 36, and nine where the
convolution follows repeating or precedes pooling:

* `winograd`: F(2x2, 3x3). Source: Lavin and Gray (arXiv:1509.09308), section 4.1.
* `doubling`: nearest x2 upsampling, then the convolution. In one dimension, with taps a, b, c,
  y[2i] = a (x[i-1] - x[i]) + (a+b+c) x[i] and y[2i+1] = (a+b+c) x[i] + c (x[i+1] - x[i]).
  Its adjoint is the convolution followed by a sum over 2x2 pixels.
* `narrow`: few input or output channels, one product with the 9 C values under the kernel.

Of bfloat16 inputs the sums P and Q are float32; the factors P(x) and U(kernel) are rounded for the
products where the CPU has instructions for those, and else computed in float32 too.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

_H, _W = 1, 2  # the axes of an image


class _Form(NamedTuple):
    """A convolution, bilinear in image and kernel, and its two adjoints; all differentiable."""

    apply: Callable  # (x, kernel) -> y
    adjoint: Callable  # (y, kernel) -> x
    kernel_grad: Callable  # (x, y) -> kernel


def _differentiable(apply, adjoint, kernel_grad) -> _Form:
    """Gives three adjoint maps gradients made of one another, to any order.

    From <apply(x, k), y> = <x, adjoint(y, k)> = <k, kernel_grad(x, y)>, which is linear in each
    of x, k and y. Only the three arguments are kept for the way back, none of the wider arrays
    in between.
    """
    form = _Form(*(jax.custom_vjp(f) for f in (apply, adjoint, kernel_grad)))
    rules = (
        (form.apply, lambda x, k, y: (form.adjoint(y, k), form.kernel_grad(x, y))),
        (form.adjoint, lambda y, k, x: (form.apply(x, k), form.kernel_grad(x, y))),
        (form.kernel_grad, lambda x, y, k: (form.adjoint(y, k), form.apply(x, k))),
    )
    for function, rule in rules:

        def backward(kept, cotangent, rule=rule):
            # Without the barrier XLA finds the forward pass's P(x) again and keeps it alive.
            return rule(*lax.optimization_barrier((*kept, cotangent)))

        function.defvjp(lambda a, b, function=function: (function(a, b), (a, b)), backward)
    return form


class _Transform(NamedTuple):
    """P, U, Q of one dimension and the adjoints of P and Q; U is a matrix over the three taps."""

    split: Callable  # image -> one part for each product
    split_adjoint: Callable
    taps: tuple[tuple[float, float, float], ...]
    join: Callable  # parts -> image
    join_adjoint: Callable


def _matmul_form(t: _Transform) -> _Form:
    """The two-dimensional form of `t`: its maps along H, then along W.

    The parts are stacked, as one batched product compiles many times faster than one by one.
    """
    n = len(t.taps)
    taps = np.einsum("ai,bj->baij", t.taps, t.taps).reshape(n * n, 9).astype(np.float32)

    def split(f, x):
        """(first, H, W, last) -> (n, n, first, h, w, last)"""
        rows = jnp.stack(f(x.astype(jnp.float32), _H))
        parts = jnp.stack(f(rows.reshape(-1, *rows.shape[2:]), _W))
        return parts.reshape(n, n, -1, *parts.shape[2:])

    def join(parts):  # at once; the other, which reads each part more often, with rows between
        columns = [_unstacked(column) for column in _unstacked(parts)]
        return t.join([t.join(row, _W) for row in zip(*columns, strict=True)], _H)

    def split_adjoint(parts):
        rows = t.split_adjoint(_unstacked(parts.reshape(n, -1, *parts.shape[3:])), _W)
        return t.split_adjoint(_unstacked(rows.reshape(n, -1, *rows.shape[1:])), _H)

    def matrices(kernel):
        return (taps @ kernel.astype(jnp.float32).reshape(9, -1)).reshape(-1, *kernel.shape[2:])

    def through(into, x, product, kernel, out):
        parts = split(into, x)
        flat = parts.reshape(n * n, -1, x.shape[-1])
        products = _product(product, flat, matrices(kernel), _factor_dtype(x.dtype))
        return out(products.reshape(*parts.shape[:-1], -1)).astype(x.dtype)

    def apply(x, kernel):
        return through(t.split, x, "kpc,kcf->kpf", kernel, join)

    def adjoint(y, kernel):
        return through(t.join_adjoint, y, "kpf,kcf->kpc", kernel, split_adjoint)

    def kernel_grad(x, y):
        dtype = _factor_dtype(x.dtype)
        if dtype == jnp.float32:
            factors = (split(f, z) for f, z in ((t.split, x), (t.join_adjoint, y)))
            a, b = (parts.reshape(n * n, -1, parts.shape[-1]) for parts in factors)
            grad = _product("kpc,kpf->kcf", a, b, dtype)
        else:  # products of bfloat16 run at less than half their speed with positions first
            pairs = ((t.split, _positions_last(x)), (t.join_adjoint, _positions_last(y)))
            a, b = (split(f, z).reshape(n * n, len(z), -1) for f, z in pairs)
            grad = _product("kcp,kfp->kcf", a, b, dtype)
        grad = taps.T @ grad.reshape(n * n, -1)
        return grad.reshape(3, 3, x.shape[-1], y.shape[-1]).astype(x.dtype)

    return _differentiable(apply, adjoint, kernel_grad)


def _product(which, a, b, dtype):
    """An einsum, summed in float32, of factors rounded to `dtype`."""
    return jnp.einsum(which, a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32)


def _factor_dtype(dtype):
    """The type of a product's factors for images of `dtype`."""
    return dtype if _multiplies_bfloat16() else jnp.dtype(jnp.float32)


@functools.cache
def _multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for it: AVX512_BF16 or AMX on x86, BF16 on Arm."""
    flags = Path("/proc/cpuinfo")
    return flags.exists() and "bf16" in flags.read_text()


def _unstacked(x):
    return [lax.index_in_dim(x, i, keepdims=False) for i in range(len(x))]


def _positions_last(x):
    """(B, H, W, C) -> (C, H, W, B), also in memory, where XLA would see a matter of indices."""
    return with_layout_constraint(x.transpose(3, 1, 2, 0), Layout((0, 1, 2, 3)))


def _previous(x, axis):
    """x[i-1], zero at the edge."""
    return _padded(lax.slice_in_dim(x, 0, x.shape[axis] - 1, axis=axis), axis, (1, 0))


def _following(x, axis):
    """x[i+1], zero at the edge."""
    return _padded(lax.slice_in_dim(x, 1, x.shape[axis], axis=axis), axis, (0, 1))


def _padded(x, axis, widths):
    return jnp.pad(x, [widths if i == axis else (0, 0) for i in range(x.ndim)])


def _phases(x, axis):
    """The even and the odd pixels."""
    return [lax.slice_in_dim(x, i, x.shape[axis], 2, axis) for i in (0, 1)]


def _interleaved(even, odd, axis):
    shape = list(even.shape)
    shape[axis] *= 2
    return jnp.stack((even, odd), axis + 1).reshape(shape)


def _winograd_split(x, axis):
    even, odd = _phases(x, axis)
    previous, following = _previous(odd, axis), _following(even, axis)
    return [previous - odd, even + odd, odd - even, even - following]


def _winograd_split_adjoint(z, axis):
    even = z[1] - z[2] + z[3] - _previous(z[3], axis)
    return _interleaved(even, z[1] + z[2] - z[0] + _following(z[0], axis), axis)


def _winograd_join_adjoint(y, axis):
    even, odd = _phases(y, axis)
    return [even, even + odd, even - odd, -odd]


def _doubling_split(x, axis):
    return [_previous(x, axis) - x, x, _following(x, axis) - x]


def _doubling_split_adjoint(z, axis):
    return _following(z[0], axis) - z[0] + z[1] + _previous(z[2], axis) - z[2]


def _doubling_join_adjoint(y, axis):
    even, odd = _phases(y, axis)
    return [even, even + odd, odd]


_winograd = _matmul_form(
    _Transform(
        _winograd_split,
        _winograd_split_adjoint,
        ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
        lambda m, axis: _interleaved(m[0] + m[1] + m[2], m[1] - m[2] - m[3], axis),
        _winograd_join_adjoint,
    )
)

_doubling = _matmul_form(
    _Transform(
        _doubling_split,
        _doubling_split_adjoint,
        ((1, 0, 0), (1, 1, 1), (0, 0, 1)),
        lambda m, axis: _interleaved(m[0] + m[1], m[1] + m[2], axis),
        _doubling_join_adjoint,
    )
)


def _windows(x):
    """Views of x shifted by each of the nine taps, zero outside."""
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]


def _narrow_apply(x, kernel):
    columns = jnp.concatenate(_windows(x), -1)
    return columns @ kernel.reshape(-1, kernel.shape[-1])


def _narrow_adjoint(y, kernel):
    b, h, w, _ = y.shape
    columns = y @ kernel.reshape(-1, kernel.shape[-1]).T
    columns = jnp.pad(columns, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(b, h + 2, w + 2, 3, 3, -1)
    return sum(
        columns[:, 2 - i : 2 - i + h, 2 - j : 2 - j + w, i, j] for i in range(3) for j in range(3)
    )


def _narrow_kernel_grad(x, y):
    columns = jnp.concatenate(_windows(x), -1)
    grad = jnp.einsum("bhwc,bhwf->cf", columns, y)
    return grad.reshape(3, 3, x.shape[-1], y.shape[-1])


_narrow = _differentiable(_narrow_apply, _narrow_adjoint, _narrow_kernel_grad)


def _turned(kernel):
    """The kernel of the adjoint: turned by half a circle, inputs and outputs exchanged."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _in_float32(function, x, kernel):
    return function(x.astype(jnp.float32), kernel.astype(jnp.float32)).astype(x.dtype)


def convolve(x, kernel):
    """3x3 convolution, stride 1, zero padding."""
    _, height, width, channels = x.shape
    if channels <= 8:
        return _in_float32(_narrow.apply, x, kernel)
    if kernel.shape[-1] <= 8:
        return _in_float32(_narrow.adjoint, x, _turned(kernel))
    even = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    return _winograd.apply(even, kernel)[:, :height, :width]


def upsample_convolve(x, kernel):
    """Nearest x2 upsampling, then the convolution."""
    return _doubling.apply(x, kernel)


def convolve_pool(x, kernel):
    """The convolution, then the average of 2x2 pixels; even H and W."""
    return _doubling.adjoint(x, _turned(kernel) / 4)
