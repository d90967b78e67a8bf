"""The variables that images are drawn with: averaged weights, and batch statistics made for them.

Batch norm's running averages belong to the weights in training, not to the averaged ones. They are
therefore computed anew, over `checkpoint.statistics_batches` batches, before a checkpoint is
written, and stored with it.
Source: "standing statistics" of BigGAN (arXiv:1809.11096), Section 4.1.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from sagan.config import ModelConfig, plugins
from sagan.models.layers import spectral
from sagan.parallel.keys import index_keys
from sagan.tasks.gan import latents

STATISTICS_STREAM = 0x57A75  # folded into the key of the seed; training folds in steps
_EXTRA_ITERATIONS = 4


def generator(model: ModelConfig, **changes: Any) -> Any:
    """Builds the generator of a model's config, with some fields changed, for one device."""
    family = plugins.load("models", model.name, field="model.name")
    return family.build(dataclasses.replace(model, **changes)).generator


def averaged(
    model: ModelConfig,
    seed: int,
    batch_size: int,
    ema: Any,
    spectral_stats: spectral.Stats,
    *,
    batches: int,
    running: Any = None,
) -> Any:
    """Returns the variables to draw images with, on the device of the averaged weights.

    Args:
      seed: of the run; the latents that the statistics are computed over depend on it.
      batch_size: of training.
      ema: averaged parameters of the generator.
      spectral_stats: of the generator in training.
      batches: number of batches that the statistics are computed over; 0: none, and `running`, the
        statistics of the generator in training, are taken.

    Returns:
      `{"params", "batch_stats"}`: the averaged weights, already spectrally normalised, and batch
      norm's exact mean and variance over the batches.
    """
    weights = _normalized(ema, spectral_stats)
    stats = statistics(model, seed, batch_size, weights, batches) if batches else running
    return {"params": weights, "batch_stats": stats}


def statistics(model: ModelConfig, seed: int, batch_size: int, weights: Any, batches: int) -> Any:
    """Returns batch norm's exact mean and variance over some batches of latents.

    Args:
      weights: spectrally normalised.
      batches: 1 or more; the others as for `averaged`.
    """
    key = jax.random.fold_in(jax.random.key(seed), STATISTICS_STREAM)
    total = None
    for number in range(batches):
        moments = _moments(model, batch_size, weights, key, jnp.int32(number))
        total = moments if total is None else jax.tree.map(jnp.add, total, moments)

    def variance(moments: Any) -> Any:
        if "square" in moments:
            mean, square = moments["mean"] / batches, moments["square"] / batches
            return {"mean": mean, "var": jnp.maximum(square - mean**2, 0)}
        return {name: variance(value) for name, value in moments.items()}

    return variance(total)


@jax.jit
def _normalized(ema: Any, stats: spectral.Stats) -> Any:
    """Divides the averaged weights by their own spectral norms.

    The vectors u belong to the weights in training, which are close to the averaged ones: a few
    more power iterations make the estimate converge.
    """
    for _ in range(_EXTRA_ITERATIONS):
        stats = spectral.moved(spectral.iterate(ema, stats))
    return spectral.normalize(ema, spectral.iterate(ema, stats))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _moments(model: Any, batch_size: int, weights: Any, key: Array, number: Array) -> Any:
    """Returns batch norm's mean and mean square over one batch of latents."""
    # With a decay of 0 the running averages become the statistics of this batch.
    network = generator(model, batch_norm_decay=0.0)
    keys = index_keys(jax.random.fold_in(key, number), 0, batch_size)
    z, label = latents.draw(model.z_dim, model.num_classes, keys)
    first = None if label is None else label[:1]
    zeros = network.init(jax.random.key(0), z[:1], first, train=True)
    variables = {"params": weights, "batch_stats": zeros.get("batch_stats", {})}
    _, moved = network.apply(variables, z, label, train=True, mutable=["batch_stats"])

    def second_moment(stats: Any) -> Any:
        if "mean" in stats and "var" in stats:
            return {"mean": stats["mean"], "square": stats["var"] + stats["mean"] ** 2}
        return {name: second_moment(value) for name, value in stats.items()}

    return second_moment(moved.get("batch_stats", {}))


def at_truncation(model: Any, variables: Any, truncation: float) -> Any:
    """Returns the variables with the batch statistics of a truncation, if there are several sets.

    Between two sets, the nearer one has the smaller weight, and some multiples of the step are
    taken for places just below them: so the released generators' code does it, and it is what
    their images are known by.

    Args:
      truncation: in (0, 1].

    Source: pytorch-pretrained-BigGAN, `BigGANBatchNorm`.
    """
    sets = getattr(model, "statistics_sets", None)
    if sets is None:
        return variables
    part, place = math.modf(truncation / (1 / (sets - 1)))
    first = int(place)

    def chosen(stats: Any) -> Any:
        if part == 0:
            return stats[first]
        return stats[first] * part + stats[first + 1] * (1 - part)

    return variables | {"batch_stats": jax.tree.map(chosen, variables["batch_stats"])}


def abstract(model: Any) -> Any:
    """Returns the shapes of what `averaged` returns, placed on this process's first device.

    With several sets of batch statistics, these have an axis more, the first.
    """
    network = generator(model)
    label = None if model.num_classes is None else jnp.zeros(1, jnp.int32)
    z = jnp.zeros((1, model.z_dim))
    shapes = jax.eval_shape(lambda: dict(network.init(jax.random.key(0), z, label, train=True)))
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    sets = getattr(model, "statistics_sets", None)
    more = {"params": (), "batch_stats": () if sets is None else (sets,)}
    return {
        name: jax.tree.map(
            lambda x, more=axes: jax.ShapeDtypeStruct((*more, *x.shape), x.dtype, sharding=device),
            shapes.get(name, {}),
        )
        for name, axes in more.items()
    }
