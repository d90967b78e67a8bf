"""Repeating a step: looped or not, the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.parallel.scan import repeat


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("unroll", [True, False])
def test_repeats_in_order_and_loops_only_if_asked(length, unroll):
    xs = {"a": jnp.arange(1.0, length + 1), "b": jnp.ones((length, 2))}

    def step(carry, x):
        return 2 * carry + x["a"], x["b"] * carry

    def program(carry, xs):
        return repeat(step, carry, xs, unroll=unroll)

    carry, ys = program(jnp.asarray(1.0), xs)
    expected, rows = 1.0, []
    for number in range(1, length + 1):
        rows.append([expected] * 2)
        expected = 2 * expected + number
    np.testing.assert_array_equal(carry, expected)
    np.testing.assert_array_equal(ys, rows)
    loops = "scan" in str(jax.make_jaxpr(program)(jnp.asarray(1.0), xs))
    assert loops == (length > 1 and not unroll)
