"""Every family of networks in the step: with every conditioning, in both types, on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.restated import random
from support.traced import around_step, kinds

from sagan import tasks
from sagan.config import make, plugins, replace
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
# What each family is usually trained with. R3GAN is missing, because the steps of all presets are
# traced in test_presets.py, and those of R3GAN have its recipe.
RECIPES = {
    "sagan": {"regularisers": ("topk=0.5",), "penalties": ("wgan_gp=1",)},
    "biggan": {"regularisers": ("bcr=1", "lecam=0.3"), "augment": ("color", "cutout")},
    "biggan_deep": {"penalties": ("r1=0.1@2",), "augment": ("bgc",)},
    "dcgan": {"loss": "non_saturating", "penalties": ("dragan=1",)},
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


@pytest.mark.parametrize("name", RECIPES)
def test_every_family_fits_the_step(name):
    """The step is traced, and keeps the shapes and types of all that it changes."""
    config = replace(config_of(name), train=RECIPES[name])
    task = tasks.build(config, 1)
    batch = Batch(
        jax.ShapeDtypeStruct((1, 8, 8, 8, 3), np.float32), jax.ShapeDtypeStruct((1, 8), np.int32)
    )
    before, after, scalars = around_step(task, batch)
    assert {"loss/d", "loss/g"} <= set(scalars)
    assert kinds(after) == kinds(before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SMALL)
def test_networks_compute_in_both_types_and_the_same_on_4_devices(name, dtype):
    """Batch norm, where there is any, sees the images of all devices; parameters are float32.

    In bfloat16 only one device computes: its rounding hides differences.
    """
    config = config_of(name, dtype=dtype).model
    networks = plugins.load("models", name, field="model.name").build(config, AXIS)
    rng = np.random.default_rng(1)
    z, label = rng.normal(size=(8, 8)).astype(np.float32), np.int32(np.arange(8) % 4)
    real = rng.uniform(-1, 1, (8, 8, 8, 3)).astype(np.float32)
    made = []
    for network, x in ((networks.generator, z), (networks.discriminator, real)):
        shapes = jax.eval_shape(
            jax.vmap(
                lambda x, y, n=network: n.init(jax.random.key(0), x, y, train=True), axis_name=AXIS
            ),
            x[None],
            label[None],
        )
        assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
        variables = random(
            jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), shapes), 0
        )

        def run(variables, x, label, network=network):
            def one(x, label):
                return network.apply(variables, x, label, train=True, mutable=["batch_stats"])[0]

            found = jax.vmap(one, axis_name=AXIS)(x, label)
            return found.reshape(8, *found.shape[2:])

        found = [
            jax.jit(run)(variables, *(a.reshape(n, 8 // n, *a.shape[1:]) for a in (x, label)))
            for n in ((1, 4) if dtype == "float32" else (1,))
        ]
        made.append(found)
        scale = float(np.abs(found[0]).max())
        assert found[0].dtype == jnp.float32 and np.all(np.isfinite(found[0]))
        np.testing.assert_allclose(found[-1], found[0], atol=1e-5 * scale)
    assert made[0][0].shape == (8, 8, 8, 3) and made[1][0].shape == (8,)
