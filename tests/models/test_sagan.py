"""SAGAN's networks: published parameter counts, and a whole pair against torch."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.models import sagan
from sagan.models.layers import attend
from sagan.parallel.platform import Platform

SMALL = sagan.Config(
    image_size=32, num_classes=3, g_channels=4, d_channels=8, z_dim=6, attention=(16,)
)


def _shapes(config):
    networks = sagan.build(config)
    label = None if config.num_classes is None else jnp.zeros(2, jnp.int32)
    size = config.image_size
    image = jnp.zeros((2, size, size, 3))
    g = jax.eval_shape(
        lambda: networks.generator.init(
            jax.random.key(0), jnp.zeros((2, config.z_dim)), label, train=True
        )
    )
    d = jax.eval_shape(
        lambda: networks.discriminator.init(jax.random.key(0), image, label, train=True)
    )
    return g["params"], d["params"]


def _count(params):
    return sum(math.prod(p.shape) for p in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("size", "classes", "attention", "g", "d"),
    [
        (128, 1000, (), 41_996_931, 39_443_137),
        (128, 1000, (32,), 42_078_852, 39_463_618),
        (128, 1000, (64,), 42_017_412, 39_448_258),
        (32, 10, (), 4_304_387, 1_055_105),
        (32, 10, (16,), 4_386_308, 1_075_586),
    ],
)
def test_parameter_counts_are_those_of_the_released_networks(size, classes, attention, g, d):
    config = sagan.Config(image_size=size, num_classes=classes, attention=attention)
    assert tuple(map(_count, _shapes(config))) == (g, d)


@pytest.mark.parametrize("size", [8, 10, 16, 24, 32, 64, 96, 128, 256, 448, 512])
@pytest.mark.parametrize("classes", [None, 5])
def test_every_size_makes_images_and_logits(size, classes):
    widths = sagan.WIDTHS[size]
    first = sagan.first_side(size, widths)
    config = sagan.Config(
        image_size=size,
        num_classes=classes,
        attention=(2 * first,),
        attention_d=(size >> widths.d_down,),
        attention_variant="paper" if first % 2 else "released",
        g_channels=8,
    )
    networks = sagan.build(config)
    label = None if classes is None else jnp.zeros(2, jnp.int32)

    def run():
        g = networks.generator.init_with_output(
            jax.random.key(0), jnp.zeros((2, 128)), label, train=True
        )[0]
        d = networks.discriminator.init_with_output(jax.random.key(0), g, label, train=True)[0]
        return g, d

    image, logits = jax.eval_shape(run)
    assert image.shape == (2, size, size, 3) and logits.shape == (2,)
    assert image.dtype == logits.dtype == jnp.float32


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image_size": 10, "attention": (10,), "attention_d": (5,)}, "attention_d=5 is odd"),
        ({"image_size": 36}, "model.image_size=36.*8, 10, 12, 14, 16, .*, 896"),
        ({"attention": (5,)}, "model.attention.* 5 .*8, 16, 32, or none"),
        ({"attention": (32,)}, "model.attention_d.* 32 "),
        ({"g_channels": 1, "d_channels": 4}, "model.attention=16.* 4 "),
        ({"num_classes": "data"}, "model.num_classes='data'"),
    ],
)
def test_what_the_networks_do_not_have_is_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        sagan.check(dataclasses.replace(SMALL, **changes))


def _random(params, seed):
    """Fills a tree with values so that every layer, and gamma too, changes the output."""
    leaves, treedef = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    filled = [
        rng.normal(0, 1 / math.sqrt(max(math.prod(p.shape[:-1]), 1)), p.shape).astype(np.float32)
        if p.ndim > 1
        else rng.normal(0.5, 0.2, p.shape).astype(np.float32)
        for p in leaves
    ]
    return jax.tree.unflatten(treedef, [jnp.asarray(leaf) for leaf in filled])


class _Torch:
    """The two networks in torch, written from their description; weights are found by name."""

    def __init__(self, params):
        torch = pytest.importorskip("torch")
        self.t, self.f = torch, torch.nn.functional
        flat = jax.tree_util.tree_flatten_with_path(params)[0]
        self.p = {
            "/".join(k.key for k in path): torch.tensor(np.asarray(leaf)) for path, leaf in flat
        }

    def conv(self, x, name):
        kernel = self.p[f"{name}/kernel"].permute(3, 2, 0, 1)
        return self.f.conv2d(x, kernel, self.p.get(f"{name}/bias"), padding=kernel.shape[-1] // 2)

    def norm(self, x, name, label=None):
        x = self.f.batch_norm(x, None, None, training=True, eps=1e-5)
        scale, bias = self.p[f"{name}/scale"], self.p[f"{name}/bias"]
        if label is None:
            return x * scale[:, None, None] + bias[:, None, None]
        return x * scale[label][..., None, None] + bias[label][..., None, None]

    def attention(self, x, name):
        b, c, h, w = x.shape
        query = self.conv(x, f"{name}/query").flatten(2)
        key, value = (
            self.f.max_pool2d(self.conv(x, f"{name}/{n}"), 2).flatten(2) for n in ("key", "value")
        )
        weights = self.t.softmax(query.transpose(1, 2) @ key, -1)
        gathered = (value @ weights.transpose(1, 2)).view(b, c // 2, h, w)
        return x + self.p[f"{name}/gamma"] * self.conv(gathered, f"{name}/output")

    def generator(self, z, label):
        x = z @ self.p["linear/kernel"] + self.p["linear/bias"]
        x = x.view(len(z), 4, 4, -1).permute(0, 3, 1, 2)

        def up(t):
            return self.f.interpolate(t, scale_factor=2, mode="nearest")

        for n in (1, 2, 3):
            h = self.t.relu(self.norm(x, f"block{n}/norm1", label))
            h = self.conv(up(h), f"block{n}/conv1")
            h = self.t.relu(self.norm(h, f"block{n}/norm2", label))
            x = self.conv(h, f"block{n}/conv2") + self.conv(up(x), f"block{n}/skip")
            if n == 2:
                x = self.attention(x, "attention_16")
        return self.t.tanh(self.conv(self.t.relu(self.norm(x, "norm")), "output"))

    def discriminator(self, x, label):
        for n in (1, 2, 3, 4):
            h = self.conv(x if n == 1 else self.t.relu(x), f"block{n}/conv1")
            h = self.conv(self.t.relu(h), f"block{n}/conv2")
            if n == 1:
                x = self.f.avg_pool2d(h, 2) + self.conv(self.f.avg_pool2d(x, 2), "block1/skip")
            elif n == 2:  # the convolution first, here
                x = self.f.avg_pool2d(h, 2) + self.f.avg_pool2d(self.conv(x, "block2/skip"), 2)
            else:
                x = h + x
            if n == 1:
                x = self.attention(x, "attention_16")
        h = self.t.relu(x).sum((2, 3))
        head = h @ self.p["head/kernel"] + self.p["head/bias"]
        return head[:, 0] + (h * self.p["projection/embedding"][label]).sum(1)


def test_a_whole_generator_and_its_gradient_agree_with_torch():
    params = _random(_shapes(SMALL)[0], 0)
    networks = sagan.build(SMALL)
    z = jnp.asarray(np.random.default_rng(1).normal(size=(4, 6)), jnp.float32)
    label = jnp.array([0, 2, 1, 2])
    stats = jax.jit(lambda: networks.generator.init(jax.random.key(0), z, label, train=True))()

    @jax.jit
    def run(z):
        image, _ = networks.generator.apply(
            {"params": params, "batch_stats": stats["batch_stats"]},
            z,
            label,
            train=True,
            mutable=["batch_stats"],
        )
        return (image**2).sum(), image

    gradient, image = jax.grad(run, has_aux=True)(z)
    other = _Torch(params)
    tz = other.t.tensor(np.asarray(z), requires_grad=True)
    expected = other.generator(tz, np.array([0, 2, 1, 2]))
    (expected**2).sum().backward()
    np.testing.assert_allclose(image, expected.detach().permute(0, 2, 3, 1), atol=2e-5)
    np.testing.assert_allclose(gradient, tz.grad, rtol=2e-3, atol=2e-3)


def test_a_whole_discriminator_and_its_gradient_agree_with_torch():
    params = _random(_shapes(SMALL)[1], 0)
    networks = sagan.build(SMALL)
    image = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (4, 32, 32, 3)), jnp.float32)
    label = jnp.array([0, 2, 1, 2])

    @jax.jit
    def run(image):
        logits = networks.discriminator.apply({"params": params}, image, label, train=True)
        return (logits**2).sum(), logits

    gradient, logits = jax.grad(run, has_aux=True)(image)
    other = _Torch(params)
    timage = other.t.tensor(np.asarray(image)).permute(0, 3, 1, 2).requires_grad_()
    expected = other.discriminator(timage, np.array([0, 2, 1, 2]))
    (expected**2).sum().backward()
    np.testing.assert_allclose(logits, expected.detach(), rtol=1e-4)
    scale = float(timage.grad.abs().max())
    np.testing.assert_allclose(gradient, timage.grad.permute(0, 2, 3, 1), atol=2e-4 * scale)


def test_the_label_moves_the_logit_by_its_projection_alone():
    params = _random(_shapes(SMALL)[1], 0)
    networks = sagan.build(SMALL)
    image = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (3, 32, 32, 3)), jnp.float32)

    @jax.jit
    def logits(params, label):
        return networks.discriminator.apply(
            {"params": params}, image, jnp.full(3, label), train=True
        )

    table = jnp.asarray(params["projection"]["embedding"])

    # The gradient of a logit by its class's row is h itself.
    @jax.jit
    @jax.jacobian
    def by_table(table):
        return logits(params | {"projection": {"embedding": table}}, 0)

    h = by_table(table)[:, 0]
    assert np.all(np.linalg.norm(h, axis=1) > 1e-3)
    moved = logits(params, 0) - logits(params, 2)
    np.testing.assert_allclose(moved, h @ (table[0] - table[2]), rtol=1e-3)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_networks_are_built_for_the_given_platform(backend):
    """Ordinary convolutions on accelerators; on CPUs matrix products, which a loop may repeat."""
    networks = sagan.build(SMALL, platform=Platform(backend, "", ""))
    assert networks.loops_on_cpu
    z, label = jnp.zeros((2, 6)), jnp.zeros(2, jnp.int32)
    jaxpr = jax.make_jaxpr(
        lambda key: networks.generator.init_with_output(key, z, label, train=True)
    )(jax.random.key(0))
    assert ("conv_general_dilated" in str(jaxpr)) == (backend == "gpu")


def test_without_attention_in_the_generator_there_is_none_in_the_discriminator():
    config = dataclasses.replace(SMALL, attention=(), attention_d=(8,))
    assert config.discriminator_attention == ()
    assert dataclasses.replace(config, attention=(16,)).discriminator_attention == (8,)


def test_forms_of_attention_share_parameters_and_blocks_are_checked():
    for form in attend.FORMS:
        config = sagan.Config(
            image_size=128, num_classes=10, attention=(128,), attention_d=(64,), attention_form=form
        )
        assert tuple(map(_count, _shapes(config))) == (32_244_612, 38_434_498)
    for form, block in (("local_1d", 8), ("local_2d", 12)):
        with pytest.raises(ConfigError, match=f"model.attention_block={block}.*{form}.*128"):
            sagan.check(dataclasses.replace(config, attention_form=form, attention_block=block))
