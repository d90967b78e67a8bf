"""Losses against worked values and torch; penalties against a linear discriminator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.tasks.gan.losses import LOSSES, PENALTIES, find

HINGE = LOSSES["hinge"]
REAL, FAKE = jnp.array([2.0, -0.5, 0.3]), jnp.array([-1.5, 0.7, 0.1])


def test_hinge_values():
    hinge = LOSSES["hinge"]
    two, zero = jnp.full(3, 2.0), jnp.zeros(3)
    assert float(hinge.discriminator(two, -two)) == 0
    assert not np.any(jax.grad(lambda x: hinge.discriminator(x, -two))(two))
    assert float(hinge.discriminator(zero, zero)) == 2
    assert float(hinge.generator(zero)) == 0


def test_losses_agree_with_torch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    real, fake = torch.tensor(np.asarray(REAL)), torch.tensor(np.asarray(FAKE))
    one, zero = torch.ones(3), torch.zeros(3)
    bce, mse = functional.binary_cross_entropy_with_logits, functional.mse_loss
    expected = {
        "hinge": ((1 - real).clamp(0).mean() + (1 + fake).clamp(0).mean(), -fake.mean()),
        "non_saturating": (bce(real, one) + bce(fake, zero), bce(fake, one)),
        "wasserstein": (fake.mean() - real.mean(), -fake.mean()),
        "least_squares": (mse(real, one) / 2 + mse(fake, zero) / 2, mse(fake, one) / 2),
    }
    assert set(expected) == set(LOSSES)
    for name, (d, g) in expected.items():
        assert float(LOSSES[name].discriminator(REAL, FAKE)) == pytest.approx(float(d), rel=1e-5)
        assert float(LOSSES[name].generator(FAKE)) == pytest.approx(float(g), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_pulls_the_right_way(name):
    """The discriminator wants reals up and fakes down, the generator fakes up."""
    loss = LOSSES[name]
    near = jnp.array([0.1, -0.1])
    assert np.all(jax.grad(loss.discriminator, 0)(near, near) < 0)
    assert np.all(jax.grad(loss.discriminator, 1)(near, near)[:1] > 0)
    assert np.all(jax.grad(loss.generator)(near) < 0)
    assert loss.discriminator(near, near).dtype == jnp.float32


def _linear(a):
    return lambda x: (x * a[None]).sum((1, 2, 3))


def test_penalties_of_a_linear_discriminator():
    a = jax.random.normal(jax.random.key(0), (4, 4, 3))
    norm = float(jnp.linalg.norm(a))
    real, fake = jax.random.normal(jax.random.key(1), (2, 5, 4, 4, 3))
    keys = jax.random.split(jax.random.key(2), 5)
    expected = {"r1": norm**2 / 2, "wgan_gp": (norm - 1) ** 2}
    assert set(expected) == set(PENALTIES)
    for name, value in expected.items():
        assert float(PENALTIES[name](_linear(a), real, fake, keys)) == pytest.approx(
            value, rel=1e-5
        )


def test_wgan_gp_looks_between_real_and_fake():
    seen = []

    def discriminate(x):
        seen.append(x)
        return (x**2).sum((1, 2, 3))

    real, fake = jnp.zeros((6, 2, 2, 3)), jnp.ones((6, 2, 2, 3))
    with jax.disable_jit():
        PENALTIES["wgan_gp"](discriminate, real, fake, jax.random.split(jax.random.key(0), 6))
    between = np.asarray(
        jax.lax.stop_gradient(seen[0].primal if hasattr(seen[0], "primal") else seen[0])
    )
    assert np.all((between > 0) & (between < 1))
    assert len(np.unique(between.reshape(6, -1)[:, 0])) == 6


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_can_be_differentiated_again(name):
    a = jnp.full((4, 4, 3), 0.3)
    real, fake = jax.random.normal(jax.random.key(1), (2, 5, 4, 4, 3))
    keys = jax.random.split(jax.random.key(2), 5)
    gradient = jax.grad(lambda a: PENALTIES[name](_linear(a), real, fake, keys))(a)
    assert np.all(np.isfinite(gradient)) and np.any(gradient)


def test_unknown_rows_list_the_known():
    with pytest.raises(ConfigError, match="train.loss='hing' is unknown; known: hinge, non_sat"):
        find(LOSSES, "hing", "train.loss")
    with pytest.raises(ConfigError, match="No module named 'nowhere'"):
        find(LOSSES, "nowhere:mine", "train.loss")
    assert find(LOSSES, f"{__name__}:HINGE", "train.loss") is HINGE


@pytest.mark.parametrize("name", [":x", "math:pi", "sagan.tasks.gan.losses:r1"])
def test_what_is_no_loss_is_refused(name):
    with pytest.raises(ConfigError, match=f"train.loss='{name}': "):
        find(LOSSES, name, "train.loss")


def test_what_is_no_penalty_is_refused():
    assert find(PENALTIES, "sagan.tasks.gan.losses:r1", "train.penalty") is PENALTIES["r1"]
    with pytest.raises(ConfigError, match="train.penalty='math:pi': 3.14.* is not a function"):
        find(PENALTIES, "math:pi", "train.penalty")
