"""The two players of a GAN, and one update of each.

Everything here is pure and written for one device under the axis `data`; gradients and scalars are
averaged over all devices explicitly. Every random draw is a function of (seed, step, update, index
in the global batch), so the number of devices changes nothing. The exception is
`train.accumulate_steps`: each device splits its own images of the batch into parts, and batch norm,
relativistic averages, LeCam's averages and top-k treat each part by itself.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from sagan.data.pipeline import Batch
from sagan.models.layers import spectral
from sagan.parallel.devices import first_index, mean_over_devices
from sagan.parallel.keys import SEEN_AGAIN, SEEN_FAKE, SEEN_REAL, index_keys
from sagan.tasks.gan import optimizer, terms
from sagan.tasks.gan.game import Gan, Weights, When, augmented, generate, judge

Scalars = dict[str, Float[Array, ""]]
OneKey = Key[Array, ""]


class Player(NamedTuple):
    """One network in training. `stats` has `spectral_stats` and `batch_stats`, either may be {}."""

    params: Any
    stats: Mapping[str, Any]
    opt_state: Any


def update_discriminator(
    gan: Gan,
    g_weights: Weights,
    g_stats: Mapping[str, Any],
    d: Player,
    memory: terms.Memory,
    key: OneKey,
    real: Batch,
    when: When,
) -> tuple[Player, terms.Memory, Scalars]:
    """Updates the discriminator alone: parameters, Adam's state, batch statistics, and u once.

    Args:
      memory: states of the regularisers.

    Returns: the discriminator, the next states of the regularisers, and scalars.
    """
    vectors = spectral.iterate(d.params, d.stats["spectral_stats"])
    first = first_index(len(real.image))

    def part_loss(params: Any, part: slice, kept: Any) -> tuple[Array, tuple[Scalars, Any]]:
        stats, memory = kept
        part_real = jax.tree.map(lambda x: x[part], real)
        keys = index_keys(key, first + part.start, len(part_real.image))
        labels = part_real.label if gan.loss.paired else None

        def drawn(move: Array | None = None) -> Batch:
            return generate(gan, g_weights, g_stats["batch_stats"], keys, labels, move)[0]

        def discriminate(image: Array, label: Array | None) -> Array:
            shown = augmented(gan, when, Batch(image, label), keys, SEEN_AGAIN)
            (judged,), _ = judge(gan, weights, stats, shown)
            return judged.logits

        fake = drawn()
        weights = spectral.normalize(params, vectors)
        (for_real, for_fake), moved = judge(
            gan,
            weights,
            stats,
            augmented(gan, when, part_real, keys, SEEN_REAL),
            augmented(gan, when, fake, keys, SEEN_FAKE),
        )
        near: Callable[[Array], Array] = lambda move: drawn(move).image  # noqa: E731
        seen = terms.Seen(part_real, fake, for_real, for_fake, discriminate, near, keys)
        loss, found, memory = terms.of_discriminator(gan, when, seen, memory)
        scalars = {f"loss/{name}": value for name, value in found.items()} | {
            "accuracy/real": jnp.mean(for_real.logits > 0),
            "accuracy/fake": jnp.mean(for_fake.logits < 0),
            "logits/real": jnp.mean(for_real.logits),
            "logits/fake": jnp.mean(for_fake.logits),
        }
        return loss, (scalars, (moved, memory))

    kept = (d.stats["batch_stats"], memory)
    grads, scalars, kept = _mean_gradient(gan, part_loss, d.params, len(real.image), kept)
    batch_stats, memory = kept
    grads = optimizer.orthogonalised(grads, d.params, gan.train.d_orthogonal)
    scalars["grad_norm/d"] = _norm(grads)
    adam = optimizer.adam(gan.optim, gan.optim.d_learning_rate, when.images)
    stats = {"spectral_stats": spectral.moved(vectors), "batch_stats": batch_stats}
    return _apply(adam, d, grads, stats), memory, scalars


def update_generator(
    gan: Gan,
    g: Player,
    d: Player,
    vectors: spectral.Vectors,
    key: OneKey,
    real: Batch,
    when: When,
) -> tuple[Player, Scalars]:
    """Updates the generator alone: parameters, Adam's state, batch statistics, and u once.

    Args:
      vectors: the generator's power iteration of this step.
      real: real images, for losses that compare with them; other losses ignore it.
    """
    d_vectors = spectral.iterate(d.params, d.stats["spectral_stats"])  # used here, but not kept
    d_weights = spectral.normalize(d.params, d_vectors)
    d_stats = d.stats["batch_stats"]
    first = first_index(len(real.image))

    def part_loss(params: Any, part: slice, batch_stats: Any) -> tuple[Array, tuple[Scalars, Any]]:
        keys = index_keys(key, first + part.start, part.stop - part.start)
        weights = spectral.normalize(params, vectors)
        part_real = jax.tree.map(lambda x: x[part], real) if gan.loss.generator_sees_real else None
        labels = part_real.label if part_real is not None and gan.loss.paired else None
        fake, moved = generate(gan, weights, batch_stats, keys, labels)

        def near(move: Array) -> Array:
            return generate(gan, weights, batch_stats, keys, labels, move)[0].image

        def discriminate(image: Array, label: Array | None) -> Array:
            shown = augmented(gan, when, Batch(image, label), keys, SEEN_AGAIN)
            return judge(gan, d_weights, d_stats, shown)[0][0].logits

        shown = [augmented(gan, when, fake, keys, SEEN_FAKE)]
        if part_real is not None:
            shown.insert(0, augmented(gan, when, part_real, keys, SEEN_REAL))
        judged, _ = judge(gan, d_weights, d_stats, *shown)
        for_real = judged[0] if part_real is not None else None
        seen = terms.Seen(part_real, fake, for_real, judged[-1], discriminate, near, keys)
        loss, found = terms.of_generator(gan, when, seen)
        return loss, ({f"loss/{name}": value for name, value in found.items()}, moved)

    grads, scalars, batch_stats = _mean_gradient(
        gan, part_loss, g.params, len(real.image), g.stats["batch_stats"]
    )
    grads = optimizer.orthogonalised(grads, g.params, gan.train.g_orthogonal)
    scalars["grad_norm/g"] = _norm(grads)
    adam = optimizer.adam(gan.optim, gan.optim.g_learning_rate, when.images)
    stats = {"spectral_stats": spectral.moved(vectors), "batch_stats": batch_stats}
    return _apply(adam, g, grads, stats), scalars


def _mean_gradient(
    gan: Gan, part_loss: Callable[..., Any], params: Any, batch_size: int, kept: Any
) -> tuple[Any, Scalars, Any]:
    """Averages gradient and scalars over the parts of this device's batch, then over devices.

    All parts use the same estimate of the spectral norms, so their mean is that of the whole
    batch. What the parts hand on to one another, such as batch statistics, is `kept`.
    """
    parts = gan.train.accumulate_steps
    size = batch_size // parts
    gradient = jax.grad(part_loss, has_aux=True)
    sums = None
    for number in range(parts):
        part = slice(number * size, (number + 1) * size)
        grads, (scalars, kept) = gradient(params, part, kept)
        sums = (grads, scalars) if sums is None else jax.tree.map(jnp.add, sums, (grads, scalars))
    grads, scalars = mean_over_devices(jax.tree.map(lambda x: x / parts, sums))
    return grads, scalars, kept


def _norm(grads: Any) -> Float[Array, ""]:
    return jnp.linalg.norm(ravel_pytree(grads)[0])  # as one vector, in the order that Adam uses


def _apply(
    adam: optax.GradientTransformation, player: Player, grads: Any, stats: Mapping[str, Any]
) -> Player:
    updates, opt_state = adam.update(grads, player.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), stats, opt_state)
