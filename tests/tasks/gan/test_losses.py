"""Adversarial losses against worked values and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.parallel.devices import AXIS
from sagan.tasks.gan.losses import LOSSES, GanLoss, find

HINGE = LOSSES["hinge"]


def on_devices(loss, count=1):
    """A loss of logits that are split over some devices, averaged over them."""

    def whole(real, fake):
        parts = [x.reshape(count, -1) for x in (real, fake)]
        return jax.vmap(loss, axis_name=AXIS)(*parts).mean()

    return whole


REAL, FAKE = np.float32([2.0, -0.5, 0.3]), np.float32([-1.5, 0.7, 0.1])


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
    real, fake = (torch.tensor(np.asarray(x), requires_grad=True) for x in (REAL, FAKE))
    one, zero = torch.ones(3), torch.zeros(3)
    bce, mse = functional.binary_cross_entropy_with_logits, functional.mse_loss
    cases = {
        "hinge": ((1 - real).clamp(0).mean() + (1 + fake).clamp(0).mean(), -fake.mean()),
        "non_saturating": (bce(real, one) + bce(fake, zero), bce(fake, one)),
        "wasserstein": (fake.mean() - real.mean(), -fake.mean()),
        "least_squares": (mse(real, one) / 2 + mse(fake, zero) / 2, mse(fake, one) / 2),
        "logistic": (bce(real, one) + bce(fake, zero), -fake.mean()),
        "hinge_san": ((1 - real).clamp(0).mean() + (1 + fake).clamp(0).mean(), -fake.mean()),
        "rpgan": (bce(real - fake, one), bce(fake - real, one)),
        "relativistic_average_hinge": (
            (1 - (real - fake.mean())).clamp(0).mean() / 2
            + (1 + (fake - real.mean())).clamp(0).mean() / 2,
            (1 - (fake - real.mean())).clamp(0).mean() / 2
            + (1 + (real - fake.mean())).clamp(0).mean() / 2,
        ),
    }
    assert set(cases) == set(LOSSES)

    @jax.jit
    def found(real, fake):
        return {
            name: [jax.value_and_grad(on_devices(loss), (0, 1))(real, fake) for loss in row[:2]]
            for name, row in LOSSES.items()
        }

    both = found(REAL, FAKE)
    for name, values in cases.items():
        for (ours, gradients), theirs in zip(both[name], values, strict=True):
            assert float(ours) == pytest.approx(theirs.item(), rel=1e-5)
            expected = torch.autograd.grad(
                theirs, (real, fake), allow_unused=True, retain_graph=True
            )
            for a, b in zip(gradients, expected, strict=True):
                np.testing.assert_allclose(a, 0 if b is None else b, atol=1e-6)


def test_rpgan_values_and_its_blindness_to_a_shift():
    loss, real, fake = LOSSES["rpgan"], jnp.array([1.0, 2.0]), jnp.array([0.0, -1.0])
    for shift in (0.0, 3.0):
        assert float(loss.discriminator(real + shift, fake + shift)) == pytest.approx(
            0.180925, abs=1e-6
        )
        assert float(loss.generator(real + shift, fake + shift)) == pytest.approx(
            2.180925, abs=1e-6
        )


def test_relativistic_averages_are_those_of_all_devices():
    loss = LOSSES["relativistic_average_hinge"].discriminator
    one, three = (
        jax.jit(jax.value_and_grad(on_devices(loss, count), (0, 1)))(REAL, FAKE) for count in (1, 3)
    )
    assert float(one[0]) == pytest.approx(float(three[0]), rel=1e-6)
    np.testing.assert_allclose(one[1], three[1], atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_pulls_the_right_way(name):
    """The discriminator wants reals up and fakes down, the generator fakes up."""
    loss = LOSSES[name]
    near = np.array([0.1, -0.1], np.float32)
    d, g = on_devices(loss.discriminator), on_devices(loss.generator)

    @jax.jit
    def slopes(real, fake):
        value, by_both = jax.value_and_grad(d, (0, 1))(real, fake)
        return value, *by_both, jax.grad(g, 1)(real, fake)

    value, d_by_real, d_by_fake, g_by_fake = slopes(near, near)
    assert np.all(d_by_real < 0)
    assert np.all(d_by_fake[:1] > 0)
    assert np.all(g_by_fake < 0)
    assert value.dtype == jnp.float32


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
