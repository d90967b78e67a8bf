"""Values that follow a schedule, and Adam with them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sagan.config import GanOptimConfig
from sagan.tasks.gan import optimizer


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (0.3, [0.3, 0.3, 0.3, 0.3]),
        ("linear:1:0:1000", [1.0, 0.5, 0.0, 0.0]),
        ("cosine:2:0.2:1000", [2.0, 1.1, 0.2, 0.2]),
        ("linear:0:0.9:2000", [0.0, 0.225, 0.45, 0.9]),
    ],
)
def test_values_over_the_images_seen(setting, expected):
    found = [float(optimizer.value(setting, jnp.float32(n))) for n in (0, 500, 1000, 4000)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_cosine_is_that_of_optax():
    schedule = optax.cosine_decay_schedule(2.0, 1000, alpha=0.1)
    for images in (1, 10, 300, 777, 999):
        ours = float(optimizer.value("cosine:2:0.2:1000", jnp.float32(images)))
        assert ours == pytest.approx(float(schedule(images)), rel=1e-5)


def test_adam_with_a_schedule_is_that_of_optax():
    """Ours is made anew for each update, by images; optax's counts updates."""
    config = GanOptimConfig(beta1=0.5, beta2=0.9)
    params = {"w": jnp.array([1.0, -2.0]), "b": jnp.array([0.5])}
    reference = optax.adam(optax.linear_schedule(0.1, 0.0, 4), 0.5, 0.9)
    ours, theirs = params, params
    state = optimizer.adam(config, "linear:0.1:0:64", jnp.zeros(())).init(params)
    expected = reference.init(params)
    for number in range(5):
        grads = jax.tree.map(lambda x: x + number, params)  # noqa: B023
        adam = optimizer.adam(config, "linear:0.1:0:64", jnp.float32(16 * number))
        updates, state = adam.update(grads, state, ours)
        ours = optax.apply_updates(ours, updates)
        updates, expected = reference.update(grads, expected, theirs)
        theirs = optax.apply_updates(theirs, updates)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)
