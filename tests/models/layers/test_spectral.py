"""Spectral normalisation against singular values, and what moves when."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.models.layers import spectral
from sagan.parallel.platform import Platform

CPU, GPU = Platform("cpu", "", ""), Platform("gpu", "", "")
# Matrix by matrix, and in groups.
everywhere = pytest.mark.parametrize("platform", [CPU, GPU], ids=["cpu", "gpu"])


def _params():
    key = jax.random.key(0)
    return {
        "conv": {"kernel": jax.random.normal(key, (3, 3, 4, 8)), "bias": jnp.ones(8)},
        "norm": {"scale": jnp.ones((10, 8)), "bias": jnp.zeros((10, 8))},
        "table": {"embedding": jax.random.normal(key, (10, 8))},
        "gamma": jnp.float32(0.5),
    }


@everywhere
def test_one_step_on_a_worked_matrix(platform):
    # W = [[1, 2], [3, 4], [5, 6]] (in x out), u = [1, 0]: worked by hand to 9.50338.
    params = {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
    vectors = spectral.iterate(params, {"kernel": jnp.array([1.0, 0.0])}, platform)
    assert float(spectral.sigmas(params, vectors, platform)["kernel"]) == pytest.approx(
        9.50338, abs=1e-5
    )


@everywhere
def test_many_steps_reach_the_singular_value_of_an_svd(platform):
    params = _params()
    stats = spectral.init(params, jax.random.key(1), platform)
    step = jax.jit(lambda stats: spectral.moved(spectral.iterate(params, stats, platform)))
    for _ in range(200):
        stats = step(stats)
    normalized = spectral.normalize(params, spectral.iterate(params, stats, platform), platform)
    for name, leaf in (("conv", "kernel"), ("table", "embedding")):
        matrix = np.asarray(normalized[name][leaf], np.float64)
        matrix = matrix.reshape(-1, matrix.shape[-1])
        assert np.linalg.svd(matrix, compute_uv=False)[0] == pytest.approx(1, abs=1e-5)


@everywhere
def test_warm_start_is_close_to_the_singular_value(platform):
    params = _params()
    vectors = spectral.iterate(params, spectral.init(params, jax.random.key(1), platform), platform)
    matrix = np.asarray(params["conv"]["kernel"]).reshape(-1, 8)
    true = np.linalg.svd(matrix, compute_uv=False)[0]
    assert float(spectral.sigmas(params, vectors, platform)["conv/kernel"]) == pytest.approx(
        true, rel=0.02
    )


@everywhere
def test_tables_of_batch_norm_biases_and_gates_are_left_alone(platform):
    params = _params()
    stats = spectral.init(params, jax.random.key(1), platform)
    assert set(stats) == {"conv/kernel", "table/embedding"}
    normalized = spectral.normalize(params, spectral.iterate(params, stats, platform), platform)
    for path in (("conv", "bias"), ("norm", "scale"), ("norm", "bias")):
        assert normalized[path[0]][path[1]] is params[path[0]][path[1]]
    assert normalized["gamma"] is params["gamma"]


@everywhere
def test_gradient_of_sigma_is_v_times_u(platform):
    params = {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
    stats = {"kernel": jnp.array([1.0, 0.0])}

    def sigma(params):
        return spectral.sigmas(params, spectral.iterate(params, stats, platform), platform)[
            "kernel"
        ]

    u, v = spectral.iterate(params, stats, platform)["kernel"]
    np.testing.assert_allclose(jax.grad(sigma)(params)["kernel"], np.outer(v, u), rtol=1e-6)


@everywhere
def test_agrees_with_torch(platform):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(5, 7, bias=False).double()
    wrapped = torch.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=1)
    weight = wrapped.parametrizations.weight.original.detach().numpy().T.astype(np.float32)
    hidden = wrapped.parametrizations.weight[0]
    stats = {"kernel": jnp.asarray(hidden._u.numpy(), jnp.float32)}
    # torch moves u first and v from the moved u; from the same u its v is ours of this step.
    params = {"kernel": jnp.asarray(weight)}
    for _ in range(100):
        stats = spectral.moved(spectral.iterate(params, stats, platform))
        _ = wrapped.weight
    ours = spectral.normalize(params, spectral.iterate(params, stats, platform), platform)["kernel"]
    np.testing.assert_allclose(ours, wrapped.weight.detach().numpy().T, rtol=2e-4)


def _some_params(sizes):
    rng = np.random.default_rng(0)
    return {
        name: {"kernel": jnp.asarray(rng.standard_normal(size), jnp.float32)}
        for name, size in sizes.items()
    }


def test_groups_give_the_same_as_one_matrix_after_the_other():
    """Matrices of many sizes: padded, of equal size, and alone; second gradients too."""
    sizes = {"a": (3, 3, 4, 8), "b": (10, 8), "c": (1, 1, 40, 2), "d": (10, 5), "e": (2, 9)}
    params = _some_params(sizes)
    stats = spectral.init(params, jax.random.key(1), CPU)
    rng = np.random.default_rng(1)
    weights = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape)), params)

    def pairs(*trees):
        return zip(*map(jax.tree.leaves, trees), strict=True)

    @functools.partial(jax.jit, static_argnums=0)
    def found(platform):
        vectors = spectral.iterate(params, stats, platform)

        def weighted(params):
            normalized = spectral.normalize(params, vectors, platform)
            return sum((x * y).sum() for x, y in pairs(weights, normalized))

        def penalty(params):
            return sum((g**2).sum() for g in jax.tree.leaves(jax.grad(weighted)(params)))

        sigmas = spectral.sigmas(params, vectors, platform)
        assert list(vectors) == list(sigmas) == list(stats)
        normalized = spectral.normalize(params, vectors, platform)
        return vectors, sigmas, normalized, jax.grad(weighted)(params), jax.grad(penalty)(params)

    jax.tree.map(
        lambda one, grouped: np.testing.assert_allclose(grouped, one, rtol=1e-4, atol=1e-5),
        found(CPU), found(GPU),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ({"a": (3, 3, 4, 8), "b": (10, 8), "c": (40, 2), "d": (10, 5), "e": (2, 9)}, 3),
        ({"large": (2000, 1000), "smaller": (1000, 1000), "equal": (2000, 1000)}, 2),
    ],
)
def test_small_matrices_are_padded_into_groups_and_large_ones_are_not(sizes, groups):
    params = {name: {"kernel": jnp.zeros(size)} for name, size in sizes.items()}
    stats = {f"{name}/kernel": jnp.zeros(size[-1]) for name, size in sizes.items()}

    def products(platform):
        text = str(jax.make_jaxpr(lambda p: spectral.iterate(p, stats, platform))(params))
        return text.count("dot_general")

    assert products(GPU) / products(CPU) == groups / len(sizes)
