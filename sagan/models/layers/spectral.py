"""Spectral normalisation of a whole parameter tree, from outside the modules that use it.

Every leaf named `kernel` or `embedding` is divided by an estimate of its largest singular value.
Other leaves stay as they are: biases, class tables of batch norm, gamma of attention. The modules
are plain flax layers. `iterate` moves the vectors `u` by one power iteration, and the caller
decides whether the moved `u` is kept:

    vectors = iterate(params, stats)             # once per update; has no gradient
    output = net.apply({"params": normalize(params, vectors)}, x)
    stats = moved(vectors)                       # only in an update of this network itself

Source: SNGAN (arXiv:1802.05957), Algorithm 1; update policy of SAGAN (arXiv:1805.08318).
Deviation: no gradient flows through u and v. In the released SAGAN code it does.

`platform` is the hardware to compute on; None: that of this process. On accelerators, small
matrices are padded with zeros and processed together in groups.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from sagan.parallel import platform as hardware
from sagan.parallel.platform import Platform

Params = Mapping[str, Any]
Stats = dict[str, Float[Array, " out"]]  # path -> u
Vectors = dict[str, tuple[Float[Array, " out"], Float[Array, " in"]]]  # path -> (u, v)

NORMALIZED = ("kernel", "embedding")
_EPSILON = 1e-12
_PADDED_UP_TO = 1 << 20  # elements; matrices are not padded to more than this (4 MiB)
_WARM_UP_STEPS = 20  # after these, from random u, the estimate is within a few percent


def init(params: Params, key: PRNGKeyArray, platform: Platform | None = None) -> Stats:
    """Draws one `u` per normalised leaf and takes some power iterations."""
    sizes = {path: weight.shape[-1] for path, weight in _weights(params).items()}
    # One draw is split over all leaves, because a draw for each takes most of the time to compile.
    cuts = list(itertools.accumulate(sizes.values()))
    parts = jnp.split(jax.random.normal(key, (sum(sizes.values()),)), cuts[:-1])
    stats = dict(zip(sizes, map(_unit, parts), strict=True))
    return lax.fori_loop(
        0, _WARM_UP_STEPS, lambda _, stats: moved(iterate(params, stats, platform)), stats
    )


def iterate(params: Params, stats: Stats, platform: Platform | None = None) -> Vectors:
    """Takes one power iteration for each leaf that `stats` names. It has no gradient."""
    vectors = {}
    matrices = lax.stop_gradient(_matrices(params, stats))
    for group in _groups(matrices, platform):
        matrix, u = (_stacked(x, group) for x in (matrices, stats))
        v = _unit(_dot(matrix, u, 2))
        u = _unit(_dot(matrix, v, 1))
        for i, path in enumerate(group):
            into, out = matrices[path].shape
            one_u, one_v = (lax.index_in_dim(x, i, keepdims=False) for x in (u, v))
            vectors[path] = (_first(one_u, (out,)), _first(one_v, (into,)))
    return {path: vectors[path] for path in stats}


def moved(vectors: Vectors) -> Stats:
    """Returns the statistics to keep after an update: the u of `vectors`."""
    return {path: u for path, (u, _) in vectors.items()}


def sigmas(
    params: Params, vectors: Vectors, platform: Platform | None = None
) -> dict[str, Float[Array, ""]]:
    """Returns the estimate of each normalised leaf's largest singular value, v W u."""
    found = {}
    for group, _, sigma in _sigmas(params, vectors, platform):
        found |= zip(group, sigma, strict=True)
    return {path: found[path] for path in vectors}


def normalize(params: Params, vectors: Vectors, platform: Platform | None = None) -> Params:
    """Divides each leaf in `vectors` by its sigma. The gradient by W also flows through sigma."""
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    for group, matrix, sigma in _sigmas(params, vectors, platform):
        # The gradient of a split is a concatenation; that of indexing is a sum of whole arrays.
        parts = jnp.split(matrix / lax.expand_dims(sigma, (1, 2)), len(group))
        for path, part in zip(group, parts, strict=True):
            into, out = _matrix(flat[path]).shape
            flat[path] = _first(part, (1, into, out)).reshape(flat[path].shape)
    return unflatten_dict(flat, sep="/")


def _sigmas(
    params: Params, vectors: Vectors, platform: Platform | None
) -> Iterator[tuple[list[str], Array, Array]]:
    """Yields groups of paths, their matrices (n, in, out) and sigmas (n)."""
    matrices = _matrices(params, vectors)
    for group in _groups(matrices, platform):
        matrix = _stacked(matrices, group)
        u, v = (_stacked({path: vectors[path][i] for path in group}, group) for i in (0, 1))
        yield group, matrix, _dot(v, _dot(matrix, u, 2), 1)


def _groups(
    matrices: Mapping[str, Float[Array, "in out"]], platform: Platform | None
) -> list[list[str]]:
    """Sorts paths into groups whose matrices are processed as one array.

    On an accelerator, reading some zeros takes less time than starting a kernel. Without groups,
    half of the kernels of a discriminator update would be spectral norms. On a CPU each matrix is
    a group.
    """
    if (platform or hardware.current()).backend == "cpu":
        return [[path] for path in matrices]
    groups: list[tuple[tuple[int, int], list[str]]] = []
    for path in sorted(matrices, key=lambda path: -matrices[path].size):
        into, out = matrices[path].shape
        for (most, widest), group in groups:
            fits = into <= most and out <= widest and most * widest <= _PADDED_UP_TO
            if fits or (into, out) == (most, widest):
                group.append(path)
                break
        else:
            groups.append(((into, out), [path]))
    return [group for _, group in groups]


def _stacked(arrays: Mapping[str, Array], group: list[str]) -> Array:
    """Returns the arrays of a group as one, padded with zeros to the size of the first."""
    if len(group) == 1:
        return lax.expand_dims(arrays[group[0]], (0,))
    size = arrays[group[0]].shape

    def padded(x: Array) -> Array:
        return jnp.pad(x, [(0, n - m) for n, m in zip(size, x.shape, strict=True)])

    return jnp.stack([padded(arrays[path]) for path in group])


def _matrices(params: Params, chosen: Iterable[str]) -> dict[str, Float[Array, "in out"]]:
    weights = _weights(params)
    return {path: _matrix(weights[path]) for path in chosen}


def _weights(params: Params) -> dict[str, Array]:
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    return {path: leaf for path, leaf in flat.items() if path.split("/")[-1] in NORMALIZED}


def _matrix(weight: Float[Array, "... out"]) -> Float[Array, "in out"]:
    out = weight.shape[-1]
    return lax.reshape(weight, (weight.size // out, out))  # (kh * kw * in, out)


def _dot(arrays: Float[Array, "n ..."], vectors: Float[Array, "n k"], axis: int) -> Array:
    """Returns for each n the product of arrays[n] and vectors[n], summed over one axis.

    Args:
      axis: the axis of `arrays` to sum over. It has as many elements as a vector.
    """
    over = (((axis,), (1,)), ((0,), (0,)))
    return lax.dot_general(arrays, vectors, over, precision=lax.Precision.HIGHEST)


def _first(x: Array, size: tuple[int, ...]) -> Array:
    """Cuts x to `size`, which removes the zeros that padded it to the size of its group."""
    return x if x.shape == size else lax.slice(x, [0] * x.ndim, size)


def _unit(x: Float[Array, "... n"]) -> Float[Array, "... n"]:
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + _EPSILON)
