"""Every family of networks in the step: with every conditioning, in both types, on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan import tasks
from sagan.config import make, replace
from sagan.data.pipeline import Batch
from sagan.parallel.devices import AXIS
from sagan.tasks import gan
from sagan.tasks.gan.conditionings import CONDITIONINGS

SMALL = {
    "sagan": {"g_channels": 4, "d_channels": 4, "attention": (8,), "attention_d": (4,)},
    "biggan": {"g_channels": 4, "d_channels": 4, "attention": (8,), "attention_d": (4,)}
    | {"shared_dim": 4},
    "biggan_deep": {"g_channels": 8, "d_channels": 8, "attention": (8,), "attention_d": (4,)}
    | {"shared_dim": 4},
    "dcgan": {"g_channels": 8, "d_channels": 8, "attention": (4,)},
    "r3gan": {"g_channels": 8, "d_channels": 8, "group_width": 4, "attention": (8,)},
}
# What each family is usually trained with.
RECIPES = {
    "sagan": {"regularisers": ("topk=0.5",), "penalties": ("wgan_gp=1",)},
    "biggan": {"regularisers": ("bcr=1", "lecam=0.3"), "augment": ("color", "cutout")},
    "biggan_deep": {"penalties": ("r1=0.1@2",), "augment": ("bgc",)},
    "dcgan": {"loss": "non_saturating", "penalties": ("dragan=1",)},
    "r3gan": {"loss": "rpgan", "penalties": ("r1=0.05", "r2=0.05"), "augment": ("bgc_r3gan",)},
}


def config_of(name, **model):
    return make(
        name="small",
        data={"name": "synthetic", "flip": False},
        model={"name": name, "image_size": 8, "num_classes": 4, "z_dim": 8} | SMALL[name] | model,
        optim={"epsilon": 1e-3, "ema_start_step": 0},
        train={"batch_size": 8, "steps": 2},
    )


@pytest.mark.parametrize("name", SMALL)
def test_every_family_takes_every_conditioning(name):
    for kind in CONDITIONINGS:
        gan.check(config_of(name, d_conditioning=kind, d_embed_dim=4))
    config = config_of(name, d_sliced=True)
    gan.check(replace(config, train={"loss": "hinge_san"}))
    gan.check(config_of(name, num_classes=None))


def step_of(config, devices):
    """Takes the first step on so many devices; an axis of `vmap` has their collectives."""
    task = tasks.build(config, devices)
    image = 0.5 * jax.random.normal(jax.random.key(5), (1, 8, 8, 8, 3))
    batch = Batch(image, (jnp.arange(8) % 4)[None])
    state = jax.jit(task.init)(list(jax.random.split(jax.random.key(0), 3)))

    def split(x):
        return jnp.moveaxis(x.reshape(1, devices, 8 // devices, *x.shape[2:]), 1, 0)

    def one(batch):
        return task.step(state, batch, jnp.int32(0), jax.random.key(1))

    found = jax.jit(jax.vmap(one, axis_name=AXIS))(jax.tree.map(split, batch))
    return state, *jax.device_get(jax.tree.map(lambda x: x[0], found))


@pytest.mark.parametrize("name", SMALL)
def test_a_step_of_each_family_moves_both_players_and_is_the_same_on_4_devices(name):
    config = replace(config_of(name), train=RECIPES[name])
    start, one, scalars = step_of(config, 1)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((one, scalars)))
    _, four, others = step_of(config, 4)
    for name, value in scalars.items():
        np.testing.assert_allclose(others[name], value, rtol=2e-3, atol=1e-4, err_msg=name)
    for player in ("g", "d"):
        before, a, b = (
            jax.flatten_util.ravel_pytree(getattr(s, player).params)[0] for s in (start, one, four)
        )
        moved = np.abs(a - before).max()
        assert moved > 1e-5
        np.testing.assert_allclose(a, b, atol=0.02 * moved)


@pytest.mark.parametrize("name", SMALL)
def test_each_family_computes_in_bfloat16_and_keeps_float32_parameters(name):
    task = tasks.build(config_of(name, dtype="bfloat16"), 1)
    networks = task.gan.networks
    label = jnp.arange(3)

    def run(key):
        z = jax.random.normal(key, (3, 8))
        image, g = networks.generator.init_with_output(key, z, label, train=True)
        logits, d = networks.discriminator.init_with_output(key, image, label, train=True)
        return image, logits, g["params"], d["params"]

    program = jax.jit(run)
    image, logits, *params = program(jax.random.key(0))
    assert image.dtype == logits.dtype == jnp.float32
    assert np.all(np.isfinite(image)) and np.all(np.isfinite(logits))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert "bf16" in program.lower(jax.random.key(0)).as_text()
