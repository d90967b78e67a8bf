"""3x3 convolutions as matrix products, for XLA:CPU.

Why. XLA:CPU takes four times as long for the gradient of a convolution by its kernel as for the
convolution, and up to a hundred times as long inside a loop. A matrix product is as fast in a loop
as outside. So a training step takes less time with these convolutions, and may be put in a loop,
which halves the time to compile it.

What. Each convolution is computed as

    y = Q(P(x) * U(kernel))

where P splits the image into a few parts, U makes one (C, F) matrix of the kernel for each part,
`*` is one matrix product per part, and Q joins the products to the image y. P, U and Q are linear
with coefficients 0, 1, -1 and 1/2, so the result is the direct sum up to rounding in float32.
2x2 pixels cost 16 products instead of 36, or 9 where the image is doubled before the convolution
or pooled after it:

* `winograd`: F(2x2, 3x3) of Lavin and Gray (arXiv:1509.09308), Section 4.1.
* `doubling`: nearest x2 upsampling, then the convolution. In one dimension, with taps a, b, c,
  y[2i] = a (x[i-1] - x[i]) + (a+b+c) x[i] and y[2i+1] = (a+b+c) x[i] + c (x[i+1] - x[i]).
  Its adjoint is the convolution followed by a sum over 2x2 pixels.
* `narrow`: for up to 8 input or output channels, one product with the 9 C values under the kernel.

P, Q and the sums are computed in float32 for bfloat16 images too. `Products.of(True)` rounds the
factors P(x) and U(kernel) to bfloat16, for CPUs that multiply bfloat16 in hardware;
`Products.of(False)` keeps them in float32.

How it is tested. tests/models/layers/test_conv.py compares it with sums over taps, and torch.

How to turn it off. Let `conv.uses_products` return False. It is the only place that decides.
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

from sagan.models.layers.windows import TAPS, pad, windows, with_border

_H, _W = 1, 2  # the axes of an image


class _Form(NamedTuple):
    """A convolution, which is bilinear in image and kernel, and its two adjoint maps."""

    apply: Callable  # (x, kernel) -> y
    adjoint: Callable  # (y, kernel) -> x
    kernel_grad: Callable  # (x, y) -> kernel


def _differentiable(apply, adjoint, kernel_grad) -> _Form:
    """Makes the three maps each other's gradients, so that they can be differentiated repeatedly.

    This holds because <apply(x, k), y> = <x, adjoint(y, k)> = <k, kernel_grad(x, y)> is linear in
    each of x, k and y. The backward pass keeps the arguments, not the larger arrays in between.
    """
    # They are jitted so that jax traces each only once for the same shapes.
    form = _Form(*(jax.custom_vjp(jax.jit(f)) for f in (apply, adjoint, kernel_grad)))
    rules = (
        (form.apply, lambda x, k, y: (form.adjoint(y, k), form.kernel_grad(x, y))),
        (form.adjoint, lambda y, k, x: (form.apply(x, k), form.kernel_grad(x, y))),
        (form.kernel_grad, lambda x, y, k: (form.adjoint(y, k), form.apply(x, k))),
    )
    for function, rule in rules:

        def backward(kept, cotangent, rule=rule):
            # Without the barrier XLA keeps the forward pass's P(x) in memory until here.
            return rule(*lax.optimization_barrier((*kept, cotangent)))

        function.defvjp(lambda a, b, function=function: (function(a, b), (a, b)), backward)
    return form


class _Transform(NamedTuple):
    """Transforms of input, kernel and output (P, U, Q) on one axis; the adjoints of P and Q."""

    split: Callable  # P: image -> parts
    split_adjoint: Callable
    taps: tuple[tuple[float, float, float], ...]  # U: for each part, a row over the three taps
    join: Callable  # Q: parts -> image
    join_adjoint: Callable


def _matmul_form(t: _Transform, rounds_factors: bool) -> _Form:
    """Returns the form in two dimensions: the maps of `t` along H, then along W.

    All parts are stacked into one batched matrix product, which compiles many times faster.
    """
    n = len(t.taps)
    taps = np.einsum("ai,bj->baij", t.taps, t.taps).reshape(n * n, 9).astype(np.float32)

    def split(f, x):
        """(first, H, W, last) -> (n, n, first, h, w, last)"""
        rows = jnp.stack(f(x.astype(jnp.float32), _H))
        parts = jnp.stack(f(rows.reshape(-1, *rows.shape[2:]), _W))
        return parts.reshape(n, n, -1, *parts.shape[2:])

    def factor_dtype(dtype):
        return dtype if rounds_factors else jnp.dtype(jnp.float32)

    # `join` is one expression; `split_adjoint` reads each part more often, so it stores rows.
    def join(parts):
        columns = [_unstacked(column) for column in _unstacked(parts)]
        return t.join([t.join(row, _W) for row in zip(*columns, strict=True)], _H)

    def split_adjoint(parts):
        rows = t.split_adjoint(_unstacked(parts.reshape(n, -1, *parts.shape[3:])), _W)
        return t.split_adjoint(_unstacked(rows.reshape(n, -1, *rows.shape[1:])), _H)

    def matrices(kernel):
        return (taps @ kernel.astype(jnp.float32).reshape(9, -1)).reshape(-1, *kernel.shape[2:])

    def through(into, x, over, kernel, out):
        parts = split(into, x)
        flat = parts.reshape(n * n, -1, x.shape[-1])
        products = _product(flat, matrices(kernel), over, factor_dtype(x.dtype))
        return out(products.reshape(*parts.shape[:-1], -1)).astype(x.dtype)

    def apply(x, kernel):
        return through(t.split, x, (2, 1), kernel, join)  # kpc, kcf -> kpf

    def adjoint(y, kernel):
        return through(t.join_adjoint, y, (2, 2), kernel, split_adjoint)  # kpf, kcf -> kpc

    def kernel_grad(x, y):
        dtype = factor_dtype(x.dtype)
        if dtype == jnp.float32:
            factors = (split(f, z) for f, z in ((t.split, x), (t.join_adjoint, y)))
            a, b = (parts.reshape(n * n, -1, parts.shape[-1]) for parts in factors)
            grad = _product(a, b, (1, 1), dtype)  # kpc, kpf -> kcf
        else:
            # XLA:CPU multiplies bfloat16 at less than half the speed if positions come first.
            pairs = ((t.split, _positions_last(x)), (t.join_adjoint, _positions_last(y)))
            a, b = (split(f, z).reshape(n * n, len(z), -1) for f, z in pairs)
            grad = _product(a, b, (2, 2), dtype)  # kcp, kfp -> kcf
        grad = taps.T @ grad.reshape(n * n, -1)
        return grad.reshape(3, 3, x.shape[-1], y.shape[-1]).astype(x.dtype)

    return _differentiable(apply, adjoint, kernel_grad)


def _product(a, b, over, dtype):
    """Multiplies a[n] and b[n], rounded to `dtype`; sums over these axes of a and b in float32."""
    dimensions = ((over[:1], over[1:]), ((0,), (0,)))
    a, b = a.astype(dtype), b.astype(dtype)
    return lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)


@functools.cache
def multiplies_bfloat16() -> bool:
    """Returns whether this CPU multiplies bfloat16 in hardware, by the flags in /proc/cpuinfo."""
    flags = Path("/proc/cpuinfo")
    return flags.exists() and "bf16" in flags.read_text()


def _unstacked(x):
    return [lax.index_in_dim(x, i, keepdims=False) for i in range(len(x))]


def _positions_last(x):
    """(B, H, W, C) -> (C, H, W, B), also in memory; XLA would only change how it is indexed."""
    return with_layout_constraint(x.transpose(3, 1, 2, 0), Layout((0, 1, 2, 3)))


def _previous(x, axis):
    """Returns x[i-1], and zero at the edge."""
    return _padded(lax.slice_in_dim(x, 0, x.shape[axis] - 1, axis=axis), axis, (1, 0))


def _following(x, axis):
    """Returns x[i+1], and zero at the edge."""
    return _padded(lax.slice_in_dim(x, 1, x.shape[axis], axis=axis), axis, (0, 1))


def _padded(x, axis, widths):
    return pad(x, [widths if i == axis else (0, 0) for i in range(x.ndim)])


def _phases(x, axis):
    """Returns the even and the odd pixels along an axis."""
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


_WINOGRAD = _Transform(
    _winograd_split,
    _winograd_split_adjoint,
    ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    lambda m, axis: _interleaved(m[0] + m[1] + m[2], m[1] - m[2] - m[3], axis),
    _winograd_join_adjoint,
)
_DOUBLING = _Transform(
    _doubling_split,
    _doubling_split_adjoint,
    ((1, 0, 0), (1, 1, 1), (0, 0, 1)),
    lambda m, axis: _interleaved(m[0] + m[1], m[1] + m[2], axis),
    _doubling_join_adjoint,
)


def _narrow_apply(x, kernel):
    return windows(x) @ kernel.reshape(-1, kernel.shape[-1])


def _narrow_adjoint(y, kernel):
    b, h, w, _ = y.shape
    c = kernel.shape[2]
    columns = with_border(y @ kernel.reshape(-1, kernel.shape[-1]).T)  # (b, h + 2, w + 2, 9 c)
    shifted = (
        lax.slice(columns, (0, 2 - i, 2 - j, n * c), (b, 2 - i + h, 2 - j + w, (n + 1) * c))
        for n, (i, j) in enumerate(TAPS)
    )
    return functools.reduce(lax.add, shifted)


def _narrow_kernel_grad(x, y):
    positions = (0, 1, 2)
    grad = lax.dot_general(windows(x), y, ((positions, positions), ((), ())))
    return grad.reshape(3, 3, x.shape[-1], y.shape[-1])


_narrow = _differentiable(_narrow_apply, _narrow_adjoint, _narrow_kernel_grad)


def _turned(kernel):
    """Returns the kernel of the adjoint: turned by half a circle, inputs and outputs exchanged."""
    return lax.rev(kernel, (0, 1)).swapaxes(2, 3)


class Products(NamedTuple):
    """The three convolutions of the residual blocks. Kernels are (3, 3, C, F)."""

    winograd: _Form
    doubling: _Form

    @staticmethod
    @functools.cache
    def of(rounds_factors: bool) -> "Products":
        """Returns the convolutions whose factors are rounded to the image's type, or float32."""
        return Products(*(_matmul_form(t, rounds_factors) for t in (_WINOGRAD, _DOUBLING)))

    def convolve(self, x, kernel):
        """Convolves with stride 1 and zero padding."""
        _, height, width, channels = x.shape
        wide = x.astype(jnp.float32), kernel.astype(jnp.float32)
        if channels <= 8:
            return _narrow.apply(*wide).astype(x.dtype)
        if kernel.shape[-1] <= 8:
            return _narrow.adjoint(wide[0], _turned(wide[1])).astype(x.dtype)
        even = pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        y = self.winograd.apply(even, kernel)
        return lax.slice(y, (0, 0, 0, 0), (*x.shape[:3], y.shape[3]))

    def upsample_convolve(self, x, kernel):
        """Repeats each pixel into 2x2, then convolves."""
        return self.doubling.apply(x, kernel)

    def convolve_pool(self, x, kernel):
        """Convolves, then averages 2x2 pixels. H and W must be even."""
        return self.doubling.adjoint(x, _turned(kernel) / 4)
