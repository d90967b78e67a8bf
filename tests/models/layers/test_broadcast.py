"""Gradients of broadcast parameters against numpy, in types that cannot hold the sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.models.layers.broadcast import broadcast_parameter

SHAPE = (2, 5, 7, 3)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_value_and_gradient(rows, dtype):
    rng = np.random.default_rng(0)
    row = jnp.asarray(rng.standard_normal((rows, 1, 1, 3)), jnp.float32)
    weights = rng.standard_normal(SHAPE).astype(np.float32)
    y = broadcast_parameter(row, SHAPE, dtype)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.broadcast_to(jnp.asarray(row, dtype), SHAPE))
    gradient = jax.grad(lambda row: (weights * broadcast_parameter(row, SHAPE, dtype)).sum())(row)
    exact = np.asarray(jnp.asarray(weights, dtype), float).sum((1, 2), keepdims=True)
    exact = exact if rows == 2 else exact.sum(0, keepdims=True)
    assert gradient.dtype == jnp.float32
    np.testing.assert_allclose(gradient, exact, atol=1e-5)


def test_ones_are_counted_in_bfloat16():
    """In bfloat16, 257 ones would sum to 256."""
    count = jax.grad(
        lambda x: broadcast_parameter(x, (1, 257, 1, 1), jnp.bfloat16).astype(jnp.float32).sum()
    )
    assert count(jnp.zeros((1, 1, 1, 1))).item() == 257


@pytest.mark.parametrize("dtype, rounding", [(jnp.float32, 1e-5), (jnp.bfloat16, 2**-8)])
def test_second_derivatives(dtype, rounding):
    """Gradient penalties need them."""

    def cubed(row):
        return (broadcast_parameter(row, SHAPE, dtype) ** 3).sum()

    row = jnp.arange(1.0, 4).reshape(1, 1, 1, 3)
    second = jax.grad(lambda row: (jax.grad(cubed)(row) ** 2).sum())(row)
    # d/dx (3 n x^2)^2 = 36 n^2 x^3
    np.testing.assert_allclose(second, 36 * 70**2 * row**3, rtol=rounding)
