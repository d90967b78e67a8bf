"""Spectral normalisation against singular values, and what moves when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.models.layers import spectral


@pytest.fixture(params=["cpu", "gpu"], autouse=True)
def form(request, monkeypatch):
    """Matrices one by one and in groups, whatever this machine has."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)


def _params():
    key = jax.random.key(0)
    return {
        "conv": {"kernel": jax.random.normal(key, (3, 3, 4, 8)), "bias": jnp.ones(8)},
        "norm": {"scale": jnp.ones((10, 8)), "bias": jnp.zeros((10, 8))},
        "table": {"embedding": jax.random.normal(key, (10, 8))},
        "gamma": jnp.float32(0.5),
    }


def test_one_step_on_a_worked_matrix():
    # W = [[1, 2], [3, 4], [5, 6]] (in x out), u = [1, 0]: worked by hand to 9.50338.
    params = {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
    vectors = spectral.iterate(params, {"kernel": jnp.array([1.0, 0.0])})
    assert float(spectral.sigmas(params, vectors)["kernel"]) == pytest.approx(9.50338, abs=1e-5)


def test_many_steps_reach_the_singular_value_of_an_svd():
    params = _params()
    stats = spectral.init(params, jax.random.key(1))
    for _ in range(200):
        stats = spectral.moved(spectral.iterate(params, stats))
    normalized = spectral.normalize(params, spectral.iterate(params, stats))
    for name, leaf in (("conv", "kernel"), ("table", "embedding")):
        matrix = np.asarray(normalized[name][leaf], np.float64)
        matrix = matrix.reshape(-1, matrix.shape[-1])
        assert np.linalg.svd(matrix, compute_uv=False)[0] == pytest.approx(1, abs=1e-5)


def test_warm_start_is_close_to_the_singular_value():
    params = _params()
    vectors = spectral.iterate(params, spectral.init(params, jax.random.key(1)))
    matrix = np.asarray(params["conv"]["kernel"]).reshape(-1, 8)
    true = np.linalg.svd(matrix, compute_uv=False)[0]
    assert float(spectral.sigmas(params, vectors)["conv/kernel"]) == pytest.approx(true, rel=0.02)


def test_tables_of_batch_norm_biases_and_gates_are_left_alone():
    params = _params()
    stats = spectral.init(params, jax.random.key(1))
    assert set(stats) == {"conv/kernel", "table/embedding"}
    normalized = spectral.normalize(params, spectral.iterate(params, stats))
    for path in (("conv", "bias"), ("norm", "scale"), ("norm", "bias")):
        assert normalized[path[0]][path[1]] is params[path[0]][path[1]]
    assert normalized["gamma"] is params["gamma"]


def test_gradient_of_sigma_is_v_times_u():
    params = {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
    stats = {"kernel": jnp.array([1.0, 0.0])}

    def sigma(params):
        return spectral.sigmas(params, spectral.iterate(params, stats))["kernel"]

    u, v = spectral.iterate(params, stats)["kernel"]
    np.testing.assert_allclose(jax.grad(sigma)(params)["kernel"], np.outer(v, u), rtol=1e-6)


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(5, 7, bias=False).double()
    wrapped = torch.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=1)
    weight = wrapped.parametrizations.weight.original.detach().numpy().T.astype(np.float32)
    hidden = wrapped.parametrizations.weight[0]
    stats = {"kernel": jnp.asarray(hidden._u.numpy(), jnp.float32)}
    # torch moves u first and v from the moved u; from the same u its v is ours of this step.
    params = {"kernel": jnp.asarray(weight)}
    for _ in range(100):
        stats = spectral.moved(spectral.iterate(params, stats))
        _ = wrapped.weight
    ours = spectral.normalize(params, spectral.iterate(params, stats))["kernel"]
    np.testing.assert_allclose(ours, wrapped.weight.detach().numpy().T, rtol=2e-4)


def test_in_groups_as_one_by_one(monkeypatch):
    """Matrices of many sizes: filled up, equal, alone; second gradients too."""
    rng = np.random.default_rng(0)
    sizes = {"a": (3, 3, 4, 8), "b": (10, 8), "c": (1, 1, 40, 2), "d": (10, 5), "e": (2, 9)}
    params = {
        name: {"kernel": jnp.asarray(rng.standard_normal(size), jnp.float32)}
        for name, size in sizes.items()
    }
    stats = spectral.init(params, jax.random.key(1))
    weights = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape)), params)

    def pairs(*trees):
        return zip(*map(jax.tree.leaves, trees), strict=True)

    def found(backend):
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        vectors = spectral.iterate(params, stats)

        def weighted(params):
            normalized = spectral.normalize(params, vectors)
            return sum((x * y).sum() for x, y in pairs(weights, normalized))

        def penalty(params):
            return sum((g**2).sum() for g in jax.tree.leaves(jax.grad(weighted)(params)))

        sigmas = spectral.sigmas(params, vectors)
        assert list(vectors) == list(sigmas) == list(stats)
        groups = spectral._groups(spectral._matrices(params, stats))
        assert len(groups) == (5 if backend == "cpu" else 3)
        normalized = spectral.normalize(params, vectors)
        return vectors, sigmas, normalized, jax.grad(weighted)(params), jax.grad(penalty)(params)

    jax.tree.map(
        lambda one, grouped: np.testing.assert_allclose(grouped, one, rtol=1e-4, atol=1e-5),
        found("cpu"), found("gpu"),
    )  # fmt: skip
    monkeypatch.setattr(spectral, "_FILLED_UP_TO", 0)
    assert len(spectral._groups(spectral._matrices(params, stats))) == 5
