"""What a module of networks must offer, shown by two small ones that users could have written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.config import make, plugins


def build(name, **fields):
    config = make(model={"name": name, "image_size": 8, "num_classes": None, **fields}).model
    family = plugins.load("models", name, field="model.name")
    assert type(config) is family.Config
    family.check(config)
    return config, family.build(config)


@pytest.mark.parametrize("name", ["sagan", "dense_pair", "plain_pair"])
def test_images_and_logits(name):
    attention = {"attention": (), "g_channels": 8, "d_channels": 8} if name == "sagan" else {}
    config, networks = build(name, z_dim=6, **attention)

    def run(key):
        z = jax.random.normal(key, (3, config.z_dim))
        image, g = networks.generator.init_with_output(key, z, None, train=True)
        logits, d = networks.discriminator.init_with_output(key, image, None, train=True)
        return image, logits, g, d

    image, logits, _, _ = jax.eval_shape(run, jax.random.key(0))
    assert image.shape == (3, 8, 8, 3) and logits.shape == (3,)
    assert image.dtype == logits.dtype == jnp.float32
    assert networks.loops_on_cpu in (False, True)


def test_a_discriminator_may_have_batch_statistics():
    _, networks = build("plain_pair", d_batch_norm=True)
    image = jax.random.uniform(jax.random.key(0), (4, 8, 8, 3), minval=-1, maxval=1)
    variables = networks.discriminator.init(jax.random.key(1), image, None, train=True)
    logits, moved = networks.discriminator.apply(
        variables, image + 1, None, train=True, mutable=["batch_stats"]
    )
    assert logits.shape == (4,)
    before, after = (jax.tree.leaves(x["batch_stats"]) for x in (variables, moved))
    assert all(np.abs(a - b).max() > 0 for a, b in zip(before, after, strict=True))
    again = networks.discriminator.apply(variables | moved, image, None, train=False)
    assert again.shape == (4,)
