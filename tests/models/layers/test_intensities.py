"""Distributions of intensities: they sum to 1, agree with an integral, are drawn as they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from sagan.models.layers.intensities import Categorical, Logistics

LEVELS = 5


def outputs(distribution, count=1, scale=1.0):
    return scale * jax.random.normal(jax.random.key(3), (count, distribution.features))


def every_token(width):
    axes = np.meshgrid(*[np.arange(LEVELS)] * width, indexing="ij")
    return jnp.asarray(np.stack(axes, -1).reshape(-1, width), jnp.int32)


ALL = [Categorical(LEVELS), Logistics(LEVELS, 1, 3), Logistics(LEVELS, 3, 2)]


@pytest.mark.parametrize("distribution", ALL)
def test_probabilities_sum_to_one(distribution):
    tokens = every_token(distribution.width)
    one = jnp.broadcast_to(outputs(distribution, scale=3.0), (len(tokens), distribution.features))
    logs = jax.jit(distribution.log_probability)(one, tokens)
    assert float(jnp.exp(logs).sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("distribution", ALL)
def test_draws_are_as_frequent_as_probable(distribution):
    tokens, count = every_token(distribution.width), 20_000
    one = outputs(distribution)[0]
    keys = jax.random.split(jax.random.key(0), count)
    drawn = jax.jit(jax.vmap(lambda key: distribution.sample(key, one, 1.0)))(keys)
    place = np.ravel_multi_index(np.asarray(drawn).T, [LEVELS] * distribution.width)
    seen = np.bincount(place, minlength=len(tokens)) / count
    logs = jax.jit(distribution.log_probability)(
        jnp.broadcast_to(one, (len(tokens), len(one))), tokens
    )
    expected = np.exp(np.asarray(logs))
    assert np.abs(seen - expected).max() < 4 * np.sqrt(expected.max() / count)
    cold = jax.jit(jax.vmap(lambda key: distribution.sample(key, one, 1e-4)))(keys[:8])
    assert (np.asarray(cold) == np.asarray(cold)[0]).all()


def test_a_pixel_is_the_integral_of_its_mixture():
    """The density of a logistic, integrated numerically; channels follow those before."""
    distribution = Logistics(256, 3, 2)
    out = np.float64(outputs(distribution)[0])
    weights, rest = np.exp(out[:2]) / np.exp(out[:2]).sum(), out[2:].reshape(2, 9)
    for tokens in ([0, 255, 130], [100, 3, 255], [255, 0, 0]):
        x = np.array(tokens) / 127.5 - 1
        total = 0.0
        for weight, (m0, m1, m2, s0, s1, s2, a, b, c) in zip(weights, rest, strict=True):
            means = (m0, m1 + np.tanh(a) * x[0], m2 + np.tanh(b) * x[0] + np.tanh(c) * x[1])
            product = weight
            for level, value, mean, log_scale in zip(tokens, x, means, (s0, s1, s2), strict=True):
                s = np.exp(max(log_scale, -7))

                def density(v, mean=mean, s=s):
                    e = np.exp(-abs(v - mean) / s)
                    return e / (s * (1 + e) ** 2)

                low = value - 1 / 255 if level else mean - 60 * s
                high = value + 1 / 255 if level < 255 else mean + 60 * s
                product *= integrate.quad(density, low, high, epsabs=1e-13)[0]
            total += product
        got = jax.jit(distribution.log_probability)(jnp.asarray(out)[None], jnp.array([tokens]))
        assert float(got[0]) == pytest.approx(np.log(total), abs=2e-4)


def test_narrow_scales_stay_finite_and_so_do_their_gradients():
    distribution = Logistics(256, 1, 1)
    out = jnp.array([[0.0, 0.9, -50.0]])  # far below the least scale
    find = jax.jit(jax.value_and_grad(lambda o, t: distribution.log_probability(o, t)[0]))
    for token in (0, 7, 255):
        value, gradient = find(out, jnp.array([[token]]))
        assert np.isfinite(value) and np.isfinite(gradient).all() and value < 1e-3


def test_softened_targets():
    distribution = Categorical(LEVELS)
    out = outputs(distribution, 3)
    tokens = jnp.array([[2], [0], [4]])
    targets = np.array([[0, 0.15, 0.7, 0.15, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]])
    expected = -(targets * np.asarray(jax.nn.log_softmax(out))).sum(1)
    np.testing.assert_allclose(distribution.loss(out, tokens, 0.3), expected, rtol=1e-5)
    plain = -distribution.log_probability(out, tokens)
    np.testing.assert_allclose(distribution.loss(out, tokens, 0.0), plain, rtol=1e-6)
