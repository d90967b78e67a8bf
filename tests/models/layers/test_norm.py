"""Batch norm against torch, conditioned on classes and vectors, and over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from sagan.models.layers.norm import BatchNorm

NORM = functools.partial(BatchNorm, decay=0.9, epsilon=1e-5)


def _x(batch=4):
    return jax.random.normal(jax.random.key(0), (batch, 3, 3, 8)) * 2 + 1


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    x, layer = _x(), NORM(None)
    reference = torch.nn.BatchNorm2d(8, eps=1e-5, momentum=0.1)
    image = torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)
    expected = reference(image).detach().permute(0, 2, 3, 1)
    y, moved = layer.init_with_output(jax.random.key(0), x, None, train=True)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    y, moved = layer.apply(moved, x, None, train=True, mutable=["batch_stats"])
    stats = moved["batch_stats"]["statistics"]
    np.testing.assert_allclose(stats["mean"], reference.running_mean, atol=1e-5)
    # torch's running variance is unbiased: n / (n - 1) of ours.
    n = 4 * 9
    ours = 0.9 * 1 + 0.1 * (np.asarray(stats["var"]) - 0.9) / 0.1 * n / (n - 1)
    np.testing.assert_allclose(ours, reference.running_var, rtol=1e-4)


def test_classes_have_no_effect_at_first_and_their_own_rows_later():
    x, layer = _x(), NORM(10)
    label = jnp.array([0, 3, 3, 9])
    variables = layer.init(jax.random.key(0), x, label, train=True)
    assert variables["params"]["scale"].shape == variables["params"]["bias"].shape == (10, 8)
    apply = functools.partial(layer.apply, train=True, mutable=["batch_stats"])
    first, _ = apply(variables, x, label)
    other, _ = apply(variables, x, jnp.array([5, 5, 5, 5]))
    np.testing.assert_array_equal(first, other)
    params = variables["params"]
    changed = params | {
        "scale": params["scale"].at[3].set(2.0),
        "bias": params["bias"].at[3].set(1.0),
    }
    moved, _ = apply(variables | {"params": changed}, x, label)
    np.testing.assert_allclose(moved[1:3], 2 * first[1:3] + 1, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(moved[::3], first[::3])


def test_a_vector_gives_gain_and_bias_by_linear_maps():
    x, layer = _x(), NORM(None)
    vector = jax.random.normal(jax.random.key(1), (4, 5))
    variables = layer.init(jax.random.key(0), x, vector, train=True)
    maps = {name: leaf["kernel"] for name, leaf in variables["params"].items()}
    assert {name: kernel.shape for name, kernel in maps.items()} == {
        "scale": (5, 8),
        "bias": (5, 8),
    }
    apply = functools.partial(layer.apply, variables, train=True, mutable=["batch_stats"])
    y, _ = apply(x, vector)
    plain, _ = NORM(None).init_with_output(jax.random.key(0), x, None, train=True)
    gain, bias = (vector @ maps[name] for name in ("scale", "bias"))
    expected = plain * (1 + gain)[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(apply(x, jnp.zeros((4, 5)))[0], plain, atol=1e-6)


def test_evaluation_uses_the_stored_statistics():
    x, layer = _x(), NORM(None)
    variables = layer.init(jax.random.key(0), x, None, train=True)
    y = layer.apply(variables, x, None, train=False)
    np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5), rtol=1e-5)


@pytest.mark.parametrize("groups", [None, ((0,), (1,))])
def test_two_devices_equal_one_on_the_whole_batch(groups):
    x = _x(8)
    whole, split = NORM(None), NORM(None, axis_name="data", axis_index_groups=groups)
    init = jax.jit(lambda x: whole.init(jax.random.key(0), x, None, train=True))
    variables = init(x)

    def value_and_gradient(layer, x):
        def loss(x):
            y, _ = layer.apply(variables, x, None, train=True, mutable=["batch_stats"])
            return (y**3).sum(), y

        return jax.grad(loss, has_aux=True)(x)

    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    program = jax.shard_map(
        functools.partial(value_and_gradient, split),
        mesh=mesh,
        in_specs=P("data"),
        out_specs=P("data"),
        check_vma=False,
    )
    alone = jax.jit(functools.partial(value_and_gradient, whole))
    if groups is None:
        expected = alone(x)
    else:  # each device by itself
        halves = [alone(half) for half in jnp.split(x, 2)]
        expected = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *halves)
    for ours, theirs in zip(jax.jit(program)(x), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
