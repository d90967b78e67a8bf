"""Feature maps to attend over, and what the tests of attention do with them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sagan.models.layers import attend


@functools.cache
def maps_of(size, pooled=True, channels=(3, 5)):
    side = size // 2 if pooled else size
    shapes = ((size, channels[0]), (side, channels[0]), (side, channels[1]))
    keys = jax.random.split(jax.random.key(0), 3)
    return [jax.random.normal(k, (2, n, n, c)) for k, (n, c) in zip(keys, shapes, strict=True)]


def form_of(form, block=0):
    return functools.partial(attend.gather, form, block)


def with_gradient(attention, maps):
    def loss(*maps):
        out = attention(*maps)
        return (out * jnp.cos(jnp.arange(out.size).reshape(out.shape))).sum(), out

    gradients, out = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*maps)
    return [out, *gradients]


def require_close(found, expected, atol=2e-5):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)
