"""Residual blocks: what the skip sees, and sums over positions."""

import jax
import jax.numpy as jnp
import numpy as np

from sagan.models.layers.resblock import DiscriminatorBlock


def _conv(kind, *args, **kwargs):
    return kind(*args, **kwargs)


def test_the_skip_sees_x_not_its_positive_part():
    block = DiscriminatorBlock(8, down=False, conv=_conv)
    x = -jnp.ones((1, 4, 4, 8))
    params = block.init(jax.random.key(0), x)["params"]
    zero = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_array_equal(block.apply({"params": zero}, x), x)


def test_an_identity_skip_has_no_convolution():
    for down, features, skip in ((False, 8, False), (True, 8, True), (False, 16, True)):
        block = DiscriminatorBlock(features, down=down, conv=_conv)
        params = jax.eval_shape(block.init, jax.random.key(0), jnp.zeros((1, 4, 4, 8)))["params"]
        assert ("skip" in params) == skip
