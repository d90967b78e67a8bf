"""Spectral normalisation of a whole parameter tree, from outside the modules that use it.

Every leaf named `kernel` or `embedding` is divided by an estimate of its largest singular value;
class tables of batch norm (`scale`, `bias`), gates and biases are left alone. Modules stay plain
flax layers, and the policy of the estimate is in one place: `iterate` moves `u` one step, and
only the caller decides whether the moved `u` is kept.

    vectors = iterate(params, stats)             # once per update; no gradient passes
    output = net.apply({"params": normalize(params, vectors)}, x)
    stats = {path: u for path, (u, v) in vectors.items()}     # only its own player's update

Source: SNGAN (arXiv:1802.05957), Algorithm 1; update policy of SAGAN (arXiv:1805.08318).
Deviation: no gradient flows through u and v (the released SAGAN code lets it).
"""

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, PRNGKeyArray

Params = Mapping[str, Any]
Stats = dict[str, Float[Array, " out"]]  # path -> u
Vectors = dict[str, tuple[Float[Array, " out"], Float[Array, " in"]]]  # path -> (u, v)

NORMALIZED = ("kernel", "embedding")
_EPSILON = 1e-12
_WARM_UP_STEPS = 20  # from random u; the estimate is then within a few percent


def init(params: Params, key: PRNGKeyArray) -> Stats:
    """Draws one `u` per normalised leaf and warms it up with power iterations."""
    sizes = {path: weight.shape[-1] for path, weight in _weights(params).items()}
    # One draw, cut up: a draw of its own for each leaf takes most of the time to compile.
    cuts = list(itertools.accumulate(sizes.values()))
    parts = jnp.split(jax.random.normal(key, (sum(sizes.values()),)), cuts[:-1])
    stats = dict(zip(sizes, map(_unit, parts), strict=True))
    return jax.lax.fori_loop(0, _WARM_UP_STEPS, lambda _, s: moved(iterate(params, s)), stats)


def iterate(params: Params, stats: Stats) -> Vectors:
    """Takes one power iteration for each leaf that `stats` names; gradients stop here."""
    vectors = {}
    weights = _weights(params)
    for path, u in stats.items():
        matrix = _matrix(jax.lax.stop_gradient(weights[path]))
        v = _unit(_multiply(matrix, u))
        u = _unit(_multiply(v, matrix))
        vectors[path] = (u, v)
    return vectors


def moved(vectors: Vectors) -> Stats:
    """Gives the statistics to keep after an update: the u of `vectors`."""
    return {path: u for path, (u, _) in vectors.items()}


def sigmas(params: Params, vectors: Vectors) -> dict[str, Float[Array, ""]]:
    """Estimates each normalised leaf's largest singular value, v W u."""
    weights = _weights(params)
    return {
        path: jnp.vdot(v, _multiply(_matrix(weights[path]), u)) for path, (u, v) in vectors.items()
    }


def normalize(params: Params, vectors: Vectors) -> Params:
    """Divides each leaf in `vectors` by its sigma; its gradient by W passes through sigma too."""
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    for path, sigma in sigmas(params, vectors).items():
        flat[path] = flat[path] / sigma
    return unflatten_dict(flat, sep="/")


def _weights(params: Params) -> dict[str, Array]:
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    return {path: leaf for path, leaf in flat.items() if path.split("/")[-1] in NORMALIZED}


def _matrix(weight: Float[Array, "... out"]) -> Float[Array, "in out"]:
    return weight.reshape(-1, weight.shape[-1])  # (kh * kw * in, out)


def _multiply(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _unit(x: Float[Array, " n"]) -> Float[Array, " n"]:
    return x / (jnp.linalg.norm(x) + _EPSILON)
