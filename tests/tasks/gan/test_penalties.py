"""Gradient penalties against a linear discriminator, whose gradient is known everywhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.data.pipeline import Batch
from sagan.tasks.gan.penalties import PENALTIES, find

KEYS = jax.random.split(jax.random.key(2), 5)
REAL, FAKE = (Batch(x, None) for x in jax.random.normal(jax.random.key(1), (2, 5, 4, 4, 3)))


def value_of(name, discriminate, real=REAL, fake=FAKE, keys=KEYS):
    """Returns the value of a penalty for this discriminator."""
    run = jax.jit(lambda real, fake, keys: PENALTIES[name](discriminate, real, fake, keys))
    return float(run(real, fake, keys))


def linear(a):
    return lambda image, label: (image * a[None]).sum((1, 2, 3))


def test_penalties_of_a_linear_discriminator():
    a = jax.random.normal(jax.random.key(0), (4, 4, 3))
    norm = float(jnp.linalg.norm(a))
    distance = (norm - 1) ** 2
    expected = {"r1": norm**2 / 2, "r2": norm**2 / 2, "wgan_gp": distance, "dragan": distance}
    assert {*expected, "r1_r2_fd"} == set(PENALTIES)
    for name, value in expected.items():
        found = value_of(name, linear(a))
        assert found == pytest.approx(value, rel=1e-5)


def test_finite_differences_estimate_r1_and_r2():
    """Of a linear discriminator the estimate has no bias; its spread is that of chi-squared."""
    a = jax.random.normal(jax.random.key(0), (4, 4, 3))
    keys = jax.random.split(jax.random.key(4), 2000)
    many = Batch(jnp.zeros((2000, 4, 4, 3)), None)
    found = value_of("r1_r2_fd", linear(a), many, many, keys)
    assert found == pytest.approx(float((a**2).sum()), rel=0.1)


def test_penalties_agree_with_torch_on_a_curved_discriminator():
    torch = pytest.importorskip("torch")
    weights = np.asarray(jax.random.normal(jax.random.key(3), (48, 6))) / 5

    @functools.partial(jax.jit, static_argnums=0)
    @functools.partial(jax.value_and_grad, argnums=1)
    def ours(name, w, real, fake, keys):
        def discriminate(image, label):
            return jnp.tanh(image.reshape(len(image), -1) @ w).sum(1)

        return PENALTIES[name](discriminate, real, fake, keys)

    def squared_norms(image, w):
        x = torch.tensor(np.asarray(image)).requires_grad_()
        logits = torch.tanh(x.reshape(len(x), -1) @ w).sum()
        (gradient,) = torch.autograd.grad(logits, x, create_graph=True)
        return gradient.square().sum((1, 2, 3))

    alpha = np.asarray(jax.vmap(jax.random.uniform)(KEYS))[:, None, None, None]
    between = alpha * np.asarray(REAL.image) + (1 - alpha) * np.asarray(FAKE.image)
    expected = {
        "r1": lambda w: squared_norms(REAL.image, w).mean() / 2,
        "r2": lambda w: squared_norms(FAKE.image, w).mean() / 2,
        "wgan_gp": lambda w: (squared_norms(between, w).sqrt() - 1).square().mean(),
    }
    for name, theirs in expected.items():
        w = torch.tensor(weights, requires_grad=True)
        value = theirs(w)
        value.backward()
        found, gradient = ours(name, weights, REAL, FAKE, KEYS)
        assert float(found) == pytest.approx(value.item(), rel=1e-4)
        np.testing.assert_allclose(gradient, w.grad, rtol=1e-3, atol=1e-4)


def test_dragan_looks_near_real_images():
    """The gradient of |x|^2 / 2 is x itself, so the penalty tells where it was taken."""

    def discriminate(image, label):
        return (image**2).sum((1, 2, 3)) / 2

    real = Batch(jnp.ones((5, 4, 4, 3)), None)  # without deviation there is no noise
    value = value_of("dragan", discriminate, real)
    assert value == pytest.approx((np.sqrt(48) - 1) ** 2, rel=1e-5)
    noisy = value_of("dragan", discriminate)
    norms = np.linalg.norm(np.asarray(REAL.image).reshape(5, -1), axis=1)
    assert noisy != pytest.approx(np.mean((norms - 1) ** 2), rel=1e-3)


def test_wgan_gp_looks_between_real_and_fake():
    """The gradient of |x|^2 / 2 is x itself, so the penalty tells where it was taken."""

    def discriminate(image, label):
        return (image**2).sum((1, 2, 3)) / 2

    zeros, ones = (Batch(jnp.full((5, 1, 1, 3), x), None) for x in (0.0, 1.0))
    value = value_of("wgan_gp", discriminate, zeros, ones)
    alpha = np.asarray(jax.vmap(jax.random.uniform)(KEYS))
    expected = np.mean((np.sqrt(3) * (1 - alpha) - 1) ** 2)
    assert len(np.unique(alpha)) == 5 and value == pytest.approx(expected, rel=1e-4)


def test_penalties_show_the_discriminator_the_labels_of_the_images():
    """A discriminator that answers by class: its gradient is the class's own vector."""
    table = jnp.array([1.0, 2.0, 3.0])
    labels = jnp.array([0, 1, 2, 1, 0])

    def discriminate(image, label):
        return image.sum((1, 2, 3)) * table[label]

    real, fake = REAL._replace(label=labels), FAKE._replace(label=labels[::-1])
    size = 4 * 4 * 3
    norms = np.asarray(table[labels]) * np.sqrt(size)
    assert value_of("r1", discriminate, real, fake) == pytest.approx(
        np.mean(norms**2) / 2, rel=1e-5
    )
    fakes = np.asarray(table[labels[::-1]]) * np.sqrt(size)
    assert value_of("r2", discriminate, real, fake) == pytest.approx(
        np.mean(fakes**2) / 2, rel=1e-5
    )
    assert value_of("wgan_gp", discriminate, real, fake) == pytest.approx(
        np.mean((norms - 1) ** 2), rel=1e-5
    )


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_can_be_differentiated_again(name):
    a = jnp.full((4, 4, 3), 0.3)

    @jax.jit
    def slope(a, real, fake, keys):
        return jax.grad(lambda a: PENALTIES[name](linear(a), real, fake, keys))(a)

    gradient = slope(a, REAL, FAKE, KEYS)
    assert np.all(np.isfinite(gradient)) and np.any(gradient)


def test_what_is_no_penalty_is_refused():
    assert find("sagan.tasks.gan.penalties:r1") is PENALTIES["r1"]
    for name in ("gp", "math:pi", "nowhere:mine"):
        with pytest.raises(ConfigError) as error:
            find(name)
        assert "train.penalties" in str(error.value) and name in str(error.value)
