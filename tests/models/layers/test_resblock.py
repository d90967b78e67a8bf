"""Residual blocks: what the skip takes, and what the condition changes."""

import jax
import jax.numpy as jnp
import numpy as np

from sagan.models.layers.norm import BatchNorm
from sagan.models.layers.resblock import DiscriminatorBlock, GeneratorBlock


def _conv(kind, *args, **kwargs):
    return kind(*args, **kwargs)


def test_the_skip_takes_x_not_its_positive_part():
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


def test_a_generator_block_is_conditioned_on_a_vector_for_each_image():
    def norm(name):
        return BatchNorm(None, 0.9, 1e-5, name=name)

    block = GeneratorBlock(8, _conv, norm)
    x = jax.random.normal(jax.random.key(0), (3, 4, 4, 8))
    vector = jax.random.normal(jax.random.key(1), (3, 5))
    variables = jax.jit(lambda x, v: block.init(jax.random.key(2), x, v, train=True))(x, vector)
    apply = jax.jit(lambda vector: block.apply(variables, x, vector, train=False))
    y, other = apply(vector), apply(vector.at[1].add(1.0))
    changed = np.abs(y - other).max((1, 2, 3)) > 1e-4
    assert changed.tolist() == [False, True, False]
