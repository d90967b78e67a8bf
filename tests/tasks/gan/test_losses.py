"""Adversarial losses against worked values and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.tasks.gan.losses import LOSSES, GanLoss, find

HINGE = LOSSES["hinge"]
REAL, FAKE = jnp.array([2.0, -0.5, 0.3]), jnp.array([-1.5, 0.7, 0.1])


def test_hinge_values():
    hinge = LOSSES["hinge"]
    two, zero = jnp.full(3, 2.0), jnp.zeros(3)
    assert float(hinge.discriminator(two, -two)) == 0
    assert not np.any(jax.grad(lambda x: hinge.discriminator(x, -two))(two))
    assert float(hinge.discriminator(zero, zero)) == 2
    assert float(hinge.generator(None, zero)) == 0


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
        assert float(LOSSES[name].generator(None, FAKE)) == pytest.approx(float(g), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_pulls_the_right_way(name):
    """The discriminator wants reals up and fakes down, the generator fakes up."""
    loss = LOSSES[name]
    near = jnp.array([0.1, -0.1])
    assert np.all(jax.grad(loss.discriminator, 0)(near, near) < 0)
    assert np.all(jax.grad(loss.discriminator, 1)(near, near)[:1] > 0)
    assert np.all(jax.grad(loss.generator, 1)(near, near) < 0)
    assert loss.discriminator(near, near).dtype == jnp.float32


def test_losses_of_the_generator_do_not_look_at_real_images_unless_they_say_so():
    for loss in LOSSES.values():
        assert loss.generator_sees_real or loss.generator(None, FAKE) == loss.generator(REAL, FAKE)


def test_unknown_rows_name_the_closest_and_the_known():
    with pytest.raises(ConfigError) as error:
        find("hing")
    for fact in ("train.loss", "'hing'", *LOSSES):
        assert fact in str(error.value)


def test_a_row_may_come_from_a_module_of_ones_own():
    assert find(f"{__name__}:HINGE") is HINGE and isinstance(HINGE, GanLoss)


@pytest.mark.parametrize("name", [":x", "math:pi", "nowhere:mine", "sagan.tasks.gan.penalties:r1"])
def test_what_is_no_loss_is_refused(name):
    with pytest.raises(ConfigError) as error:
        find(name)
    assert "train.loss" in str(error.value) and name in str(error.value)
