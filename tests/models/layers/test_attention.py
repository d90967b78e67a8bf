"""Self-attention against a NumPy loop and torch, and its behaviour at gamma = 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.models.layers.attention import SelfAttention

C = 16


def _made(variant="released", gamma=0.0, size=4):
    layer = SelfAttention(variant)
    x = jax.random.normal(jax.random.key(1), (2, size, size, C))
    params = jax.jit(layer.init)(jax.random.key(0), x)["params"]
    return layer, params | {"gamma": jnp.float32(gamma)}, x


def _by_loop(params, x, variant):
    """Eq. 1-3 one position at a time."""
    weights = {
        n: np.asarray(params[n]["kernel"][0, 0]) for n in ("query", "key", "value", "output")
    }
    x = np.asarray(x)
    b, h, w, c = x.shape
    out, maps = np.empty_like(x), []
    for n in range(b):
        query, key, value = (x[n] @ weights[name] for name in ("query", "key", "value"))
        if variant == "released":
            key, value = (
                np.array(
                    [
                        [t[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1)) for j in range(w // 2)]
                        for i in range(h // 2)
                    ]
                )
                for t in (key, value)
            )
        key, value = key.reshape(-1, key.shape[-1]), value.reshape(-1, value.shape[-1])
        rows = []
        for i in range(h):
            for j in range(w):
                scores = key @ query[i, j]
                weight = np.exp(scores - scores.max())
                weight /= weight.sum()
                rows.append(weight)
                gathered = weight @ value @ weights["output"]
                out[n, i, j] = x[n, i, j] + float(params["gamma"]) * gathered
        maps.append(rows)
    return out, np.array(maps)


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_agrees_with_a_loop(variant):
    layer, params, x = _made(variant, gamma=0.7)
    y, found = layer.apply({"params": params}, x, mutable=["intermediates"])
    expected, maps = _by_loop(params, x, variant)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    (attention,) = found["intermediates"]["attention"]
    assert attention.shape == (2, 16, 4 if variant == "released" else 16)
    np.testing.assert_allclose(attention, maps, atol=1e-6)
    np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-6)


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    layer, params, x = _made(gamma=-0.4)
    w = {
        n: torch.tensor(np.asarray(params[n]["kernel"])).permute(3, 2, 0, 1)
        for n in ("query", "key", "value", "output")
    }
    image = torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)
    query = functional.conv2d(image, w["query"]).flatten(2)
    key = functional.max_pool2d(functional.conv2d(image, w["key"]), 2).flatten(2)
    value = functional.max_pool2d(functional.conv2d(image, w["value"]), 2).flatten(2)
    attention = torch.softmax(query.transpose(1, 2) @ key, -1)
    gathered = (value @ attention.transpose(1, 2)).view(2, C // 2, 4, 4)
    expected = image - 0.4 * functional.conv2d(gathered, w["output"])
    y = layer.apply({"params": params}, x)
    np.testing.assert_allclose(y, expected.permute(0, 2, 3, 1), atol=1e-5)


def test_is_the_identity_at_first_and_only_gamma_learns():
    layer, params, x = _made()
    np.testing.assert_array_equal(layer.apply({"params": params}, x), x)
    grads = jax.jit(jax.grad(lambda p: (layer.apply({"params": p}, x) ** 3).sum()))(params)
    assert abs(float(grads["gamma"])) > 1e-3
    for name in ("query", "key", "value", "output"):
        assert not np.any(grads[name]["kernel"])


def test_softmax_is_float32_under_bfloat16():
    layer = SelfAttention(dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(1), (1, 4, 4, C)).astype(jnp.bfloat16)
    variables = layer.init(jax.random.key(0), x)
    y, found = layer.apply(variables, x, mutable=["intermediates"])
    assert y.dtype == jnp.bfloat16
    assert found["intermediates"]["attention"][-1].dtype == jnp.float32
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("channels", [64, 128, 256])
def test_parameter_count(channels):
    shapes = jax.eval_shape(SelfAttention().init, jax.random.key(0), jnp.zeros((1, 4, 4, channels)))
    count = sum(p.size for p in jax.tree.leaves(shapes["params"]))
    assert count == 5 * channels**2 // 4 + 1


@pytest.mark.parametrize("shape", [(1, 5, 4, 16), (1, 4, 4, 12)])
def test_refuses_odd_sizes_and_narrow_maps(shape):
    with pytest.raises(ValueError, match="even H and W"):
        SelfAttention().init(jax.random.key(0), jnp.zeros(shape))
