"""Networks restated in torch: layers that find their weights by name, and comparisons.

Written from descriptions of the networks, not from our layers; images are (B, C, H, W).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def shapes(family, config):
    """Returns the shapes of the variables of both networks; nothing is computed."""
    networks = family.build(config)
    label = None if config.num_classes is None else jnp.zeros(2, jnp.int32)
    inputs = (jnp.zeros((2, config.z_dim)), jnp.zeros((2, config.image_size, config.image_size, 3)))
    return [
        jax.eval_shape(lambda n=network, x=x: n.init(jax.random.key(0), x, label, train=True))
        for network, x in zip(networks[:2], inputs, strict=True)
    ]


def counts(family, config):
    """Returns the numbers of parameters of generator and discriminator."""
    return tuple(
        sum(math.prod(p.shape) for p in jax.tree.leaves(variables["params"]))
        for variables in shapes(family, config)
    )


def random(tree, seed):
    """Fills a tree with values so that every layer, and gamma too, changes the output."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        if leaf.ndim > 1:
            values = rng.normal(0, 1 / math.sqrt(math.prod(leaf.shape[:-1])), leaf.shape)
        else:
            # A variance above 1 keeps images away from -1 and 1, where all are alike.
            values = rng.uniform(0.3, 0.7, leaf.shape) + (path[-1].key == "var") * 1.5
        return jnp.asarray(values, jnp.float32)

    return jax.tree_util.tree_map_with_path(fill, tree)


class Torch:
    """Layers in torch; `self.p` has parameters and batch statistics by path."""

    def __init__(self, variables):
        torch = pytest.importorskip("torch")
        self.t, self.f = torch, torch.nn.functional
        flat = jax.tree_util.tree_flatten_with_path(
            [variables["params"], variables.get("batch_stats", {})]
        )[0]
        self.p = {
            "/".join(k.key for k in path[1:]): torch.tensor(np.asarray(leaf)) for path, leaf in flat
        }

    def tensor(self, x):
        return self.t.tensor(np.asarray(x))

    def conv(self, x, name, **options):
        kernel = self.p[f"{name}/kernel"].permute(3, 2, 0, 1)
        options = {"padding": kernel.shape[-1] // 2} | options
        return self.f.conv2d(x, kernel, self.p.get(f"{name}/bias"), **options)

    def linear(self, x, name):
        return x @ self.p[f"{name}/kernel"] + self.p.get(f"{name}/bias", 0)

    def up(self, x):
        return self.f.interpolate(x, scale_factor=2, mode="nearest")

    def pool(self, x):
        return self.f.avg_pool2d(x, 2)

    def norm(self, x, name, condition=None, eps=1e-5):
        """With statistics of the batch if there are no others."""
        mean, var = (self.p.get(f"{name}/statistics/{n}") for n in ("mean", "var"))
        x = self.f.batch_norm(x, mean, var, training=mean is None, eps=eps)
        if condition is None:
            gain, bias = (self.p[f"{name}/{n}"][None] for n in ("scale", "bias"))
        elif condition.ndim == 1:
            gain, bias = (self.p[f"{name}/{n}"][condition] for n in ("scale", "bias"))
        else:
            gain = 1 + self.linear(condition, f"{name}/scale")
            bias = self.linear(condition, f"{name}/bias")
        return x * gain[..., None, None] + bias[..., None, None]

    def attention(self, x, name):
        b, c, h, w = x.shape
        query = self.conv(x, f"{name}/query").flatten(2)
        key, value = (
            self.f.max_pool2d(self.conv(x, f"{name}/{n}"), 2).flatten(2) for n in ("key", "value")
        )
        weights = self.t.softmax(query.transpose(1, 2) @ key, -1)
        gathered = (value @ weights.transpose(1, 2)).view(b, c // 2, h, w)
        return x + self.p[f"{name}/gamma"] * self.conv(gathered, f"{name}/output")

    def projected(self, h, label):
        """The end of a discriminator: a linear layer, and the class's embedding."""
        logits = self.linear(h, "head")[:, 0]
        if label is None:
            return logits
        return logits + (h * self.p["projection/embedding"][label]).sum(1)


def compare_generator(family, config, restated, *, label, gradient=False):
    """Compares images, and the gradient by z, of a generator with given batch statistics.

    Args:
      restated: restated(torch, z, label) -> image.
      label: of the images, or None.
    """
    z = np.random.default_rng(1).normal(size=(4, config.z_dim)).astype(np.float32)
    variables = random(shapes(family, config)[0], 0)
    network = family.build(config).generator
    found, expected = _both(network, variables, z, restated, label, gradient)
    np.testing.assert_allclose(found[0], expected[0].transpose(0, 2, 3, 1), atol=2e-5)
    assert np.std(found[0]) > 0.05  # not all the same
    if gradient:
        scale = np.abs(expected[1]).max()
        np.testing.assert_allclose(found[1], expected[1], atol=2e-4 * scale)


def compare_discriminator(family, config, restated, *, label, gradient=False):
    """Compares logits, and the gradient by the image; arguments as `compare_generator`."""
    size = config.image_size
    image = np.random.default_rng(1).uniform(-1, 1, (4, 3, size, size)).astype(np.float32)
    variables = random(shapes(family, config)[1], 0)
    network = family.build(config).discriminator
    found, expected = _both(network, variables, image, restated, label, gradient)
    scale = np.abs(expected[0]).max()
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5 * scale)
    assert np.ptp(found[0]) > 1e-3 * scale
    if gradient:
        expected = expected[1].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(found[1], expected, atol=2e-4 * np.abs(expected).max())


def _both(network, variables, x, restated, label, gradient):
    """Returns (output, gradient of the sum of its squares by x) of a network, and of torch's."""
    other = Torch(variables)
    known = None if label is None else jnp.asarray(label)

    def run(x):
        y = network.apply(variables, x, known, train=False)
        return (y**2).sum(), y

    nhwc = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
    if gradient:
        found = jax.jit(jax.grad(run, has_aux=True))(nhwc)[::-1]
    else:
        found = (jax.jit(run)(nhwc)[1],)
    tx = other.tensor(x).requires_grad_(gradient)
    y = restated(other, tx, None if label is None else other.tensor(label))
    if gradient:
        (y**2).sum().backward()
    return found, (y.detach().numpy(), tx.grad.numpy() if gradient else None)
