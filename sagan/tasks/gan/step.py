"""One training step of a GAN: several updates of the discriminator, then one of the generator.

Everything here is pure and written for one device under the axis `data`; gradients and scalars are
averaged over all devices explicitly. Every random draw is a function of (seed, step, update, index
in the global batch), so the number of devices changes nothing. The exception is
`train.accumulate_steps`: each device splits its own images of the batch into parts, and batch norm
normalises each part by itself.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key

from sagan.config import GanOptimConfig, GanTrainConfig
from sagan.config.schedules import Schedule
from sagan.data.pipeline import Batch
from sagan.models import Networks
from sagan.models.layers import spectral
from sagan.parallel.devices import first_index, mean_over_devices
from sagan.parallel.keys import PENALTY, index_keys, of_stream
from sagan.parallel.scan import repeat
from sagan.tasks.gan import latents, optimizer
from sagan.tasks.gan.losses import GanLoss
from sagan.tasks.gan.penalties import Penalty

Scalars = dict[str, Float[Array, ""]]
OneKey = Key[Array, ""]
Weights = Any  # parameters after spectral normalisation


class Player(NamedTuple):
    """One network in training. `stats` has `spectral_stats` and `batch_stats`, either may be {}."""

    params: Any
    stats: Mapping[str, Any]
    opt_state: Any


class GanState(NamedTuple):
    """Everything that a step changes.

    Attributes:
      ema: moving average of the generator's parameters.
      extra: state of regularisers and augmentations, by their names.
    """

    g: Player
    d: Player
    ema: Any
    extra: Mapping[str, Any]


class Gan(NamedTuple):
    """Everything that a step does not change.

    Attributes:
      networks: generator and discriminator; see `sagan.models`.
      penalties: each with its weight.
      model: the section of the config that belongs to the family of networks.
      unroll: compile the discriminator's updates one after another, not as a loop.
    """

    networks: Networks
    loss: GanLoss
    penalties: tuple[tuple[Penalty, float | Schedule], ...]
    model: Any
    optim: GanOptimConfig
    train: GanTrainConfig
    unroll: bool


def init(gan: Gan, g_key: OneKey, d_key: OneKey, spectral_key: OneKey) -> GanState:
    """Draws the first state; the average starts as a copy of the generator's parameters."""
    label = None if gan.model.num_classes is None else jnp.zeros(1, jnp.int32)
    size = gan.model.image_size
    z, image = jnp.zeros((1, gan.model.z_dim)), jnp.zeros((1, size, size, 3))
    start = jnp.zeros(())

    def player(network: Any, key: OneKey, x: Array, normalized: bool, rate: Any) -> Player:
        variables = dict(network.init(key, x, label, train=True))
        params = variables["params"]
        stats = {
            "spectral_stats": spectral.init(params, spectral_key) if normalized else {},
            "batch_stats": variables.get("batch_stats", {}),
        }
        return Player(params, stats, optimizer.adam(gan.optim, rate, start).init(params))

    networks, optim = gan.networks, gan.optim
    g = player(networks.generator, g_key, z, gan.model.spectral_norm_g, optim.g_learning_rate)
    discriminator, normalized = networks.discriminator, gan.model.spectral_norm_d
    d = player(discriminator, d_key, image, normalized, optim.d_learning_rate)
    return GanState(g, d, jax.tree.map(jnp.copy, g.params), {})


def train_step(
    gan: Gan, state: GanState, reals: Batch, step: Int[Array, ""], key: OneKey
) -> tuple[GanState, Scalars]:
    """Advances the state by one update of the generator.

    Args:
      reals: this device's batches, stacked: one per discriminator update, in order.
      step: steps taken before this one.
      key: of this step; the same on all devices.

    Returns:
      The next state and scalars. Those of the discriminator are means over its updates.
    """
    updates = len(reals.image)
    global_batch = gan.train.batch_size
    images_seen = jnp.float32(global_batch * updates) * step
    # The generator stays the same during all updates of the discriminator.
    g_vectors = spectral.iterate(state.g.params, state.g.stats["spectral_stats"])
    g_weights = spectral.normalize(state.g.params, g_vectors)

    def update_d(d: Player, xs: tuple[Any, Batch]) -> tuple[Player, Scalars]:
        number, real = xs
        seen = images_seen + global_batch * (number - 1)
        update_key = jax.random.fold_in(key, number)
        return update_discriminator(gan, g_weights, state.g.stats, d, update_key, real, seen)

    numbers = jnp.arange(1, updates + 1)
    d, d_scalars = repeat(update_d, state.d, (numbers, reals), unroll=gan.unroll)

    last = jax.tree.map(lambda x: x[-1], reals)
    g_key = jax.random.fold_in(key, 0)
    g, g_scalars = update_generator(gan, state.g, d, g_vectors, g_key, last, images_seen)

    optim = gan.optim
    decay = optimizer.value(optim.ema_decay, images_seen)
    decay = jnp.where(step + 1 < optim.ema_start_step, 0.0, decay)
    ema = optax.incremental_update(g.params, state.ema, 1 - decay)
    return GanState(g, d, ema, state.extra), jax.tree.map(jnp.mean, d_scalars) | g_scalars


def update_discriminator(
    gan: Gan,
    g_weights: Weights,
    g_stats: Mapping[str, Any],
    d: Player,
    key: OneKey,
    real: Batch,
    images_seen: Float[Array, ""],
) -> tuple[Player, Scalars]:
    """Updates the discriminator alone: parameters, Adam's state, batch statistics, and u once."""
    vectors = spectral.iterate(d.params, d.stats["spectral_stats"])
    first = first_index(len(real.image))

    def part_loss(params: Any, part: slice, stats: Any) -> tuple[Array, tuple[Scalars, Any]]:
        part_real = jax.tree.map(lambda x: x[part], real)
        keys = index_keys(key, first + part.start, len(part_real.image))
        fake, _ = _generate(gan, g_weights, g_stats["batch_stats"], keys)
        weights = spectral.normalize(params, vectors)
        (real_logits, fake_logits), moved = _judge(gan, weights, stats, part_real, fake)
        loss = gan.loss.discriminator(real_logits, fake_logits)
        scalars = {
            "loss/d": loss,
            "accuracy/real": jnp.mean(real_logits > 0),
            "accuracy/fake": jnp.mean(fake_logits < 0),
            "logits/real": jnp.mean(real_logits),
            "logits/fake": jnp.mean(fake_logits),
        }

        def discriminate(image: Array, label: Array | None) -> Array:
            (logits,), _ = _judge(gan, weights, stats, Batch(image, label))
            return logits

        penalty_keys = of_stream(keys, PENALTY)
        terms = [
            optimizer.value(weight, images_seen)
            * penalty(discriminate, part_real, fake, penalty_keys)
            for penalty, weight in gan.penalties
        ]
        if terms:
            scalars["loss/penalty"] = jnp.stack(terms).sum()
            loss = loss + scalars["loss/penalty"]
        return loss, (scalars, moved)

    grads, scalars, batch_stats = _mean_gradient(
        gan, part_loss, d.params, len(real.image), d.stats["batch_stats"]
    )
    scalars["grad_norm/d"] = _norm(grads)
    adam = optimizer.adam(gan.optim, gan.optim.d_learning_rate, images_seen)
    stats = {"spectral_stats": spectral.moved(vectors), "batch_stats": batch_stats}
    return _apply(adam, d, grads, stats), scalars


def update_generator(
    gan: Gan,
    g: Player,
    d: Player,
    vectors: spectral.Vectors,
    key: OneKey,
    real: Batch,
    images_seen: Float[Array, ""],
) -> tuple[Player, Scalars]:
    """Updates the generator alone: parameters, Adam's state, batch statistics, and u once.

    Args:
      vectors: the generator's power iteration of this step.
      real: real images, for losses that compare with them; other losses ignore it.
    """
    d_vectors = spectral.iterate(d.params, d.stats["spectral_stats"])  # used here, but not kept
    d_weights = spectral.normalize(d.params, d_vectors)
    batch_size = len(real.image)
    first = first_index(batch_size)

    def part_loss(params: Any, part: slice, batch_stats: Any) -> tuple[Array, tuple[Scalars, Any]]:
        keys = index_keys(key, first + part.start, part.stop - part.start)
        weights = spectral.normalize(params, vectors)
        fake, batch_stats = _generate(gan, weights, batch_stats, keys)
        shown = [fake]
        if gan.loss.generator_sees_real:
            shown.insert(0, jax.tree.map(lambda x: x[part], real))
        logits, _ = _judge(gan, d_weights, d.stats["batch_stats"], *shown)
        loss = gan.loss.generator(logits[0] if len(logits) == 2 else None, logits[-1])
        return loss, ({"loss/g": loss}, batch_stats)

    grads, scalars, batch_stats = _mean_gradient(
        gan, part_loss, g.params, batch_size, g.stats["batch_stats"]
    )
    scalars["grad_norm/g"] = _norm(grads)
    adam = optimizer.adam(gan.optim, gan.optim.g_learning_rate, images_seen)
    stats = {"spectral_stats": spectral.moved(vectors), "batch_stats": batch_stats}
    return _apply(adam, g, grads, stats), scalars


def _generate(gan: Gan, weights: Weights, batch_stats: Any, keys: Any) -> tuple[Batch, Any]:
    """Draws one image for each key; returns them with their classes, and the moved statistics."""
    z, label = latents.draw(gan.model.z_dim, gan.model.num_classes, keys)
    variables = {"params": weights, "batch_stats": batch_stats}
    image, moved = gan.networks.generator.apply(
        variables, z, label, train=True, mutable=["batch_stats"]
    )
    return Batch(image, label), moved.get("batch_stats", {})


def _judge(
    gan: Gan, weights: Weights, batch_stats: Any, *batches: Batch
) -> tuple[list[Array], Any]:
    """Runs the discriminator on several batches.

    They go through in one pass, which is faster, unless the discriminator has batch statistics:
    those of real and of generated images must not mix, so each batch then has a pass of its own.

    Returns: logits for each batch, and the batch statistics after them.
    """
    apply: Any = gan.networks.discriminator.apply
    if not batch_stats:
        joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *batches)
        logits = apply({"params": weights}, joined.image, joined.label, train=True)
        return jnp.split(logits, len(batches)), batch_stats
    found = []
    for batch in batches:
        variables = {"params": weights, "batch_stats": batch_stats}
        logits, moved = apply(
            variables, batch.image, batch.label, train=True, mutable=["batch_stats"]
        )
        batch_stats = moved["batch_stats"]
        found.append(logits)
    return found, batch_stats


def _mean_gradient(
    gan: Gan, part_loss: Callable[..., Any], params: Any, batch_size: int, batch_stats: Any
) -> tuple[Any, Scalars, Any]:
    """Averages gradient and scalars over the parts of this device's batch, then over devices.

    All parts use the same estimate of the spectral norms, so their mean is that of the whole
    batch. Only batch norm differs: it normalises, and moves its averages, for each part by itself.
    """
    parts = gan.train.accumulate_steps
    size = batch_size // parts
    gradient = jax.grad(part_loss, has_aux=True)
    sums = None
    for number in range(parts):
        part = slice(number * size, (number + 1) * size)
        grads, (scalars, batch_stats) = gradient(params, part, batch_stats)
        sums = (grads, scalars) if sums is None else jax.tree.map(jnp.add, sums, (grads, scalars))
    grads, scalars = mean_over_devices(jax.tree.map(lambda x: x / parts, sums))
    return grads, scalars, batch_stats


def _norm(grads: Any) -> Float[Array, ""]:
    return jnp.linalg.norm(ravel_pytree(grads)[0])  # as one vector, in the order that Adam uses


def _apply(
    adam: optax.GradientTransformation, player: Player, grads: Any, stats: Mapping[str, Any]
) -> Player:
    updates, opt_state = adam.update(grads, player.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), stats, opt_state)
