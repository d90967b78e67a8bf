"""One training step of a GAN: several updates of the discriminator, then one of the generator."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from sagan.data.pipeline import Batch
from sagan.models.layers import spectral
from sagan.parallel.scan import repeat
from sagan.tasks.gan import augmentation, optimizer, power_average
from sagan.tasks.gan.game import Gan, When
from sagan.tasks.gan.players import Player, Scalars, update_discriminator, update_generator

OneKey = Key[Array, ""]
ADAPTIVE = "adaptive"  # value of train.augment_p
ADA = "ada"  # its state in `GanState.extra`
AVERAGES = "averages"  # those of optim.ema_widths there


class GanState(NamedTuple):
    """Everything that a step changes.

    Attributes:
      ema: moving average of the generator's parameters.
      extra: state of regularisers and augmentations, by their names; and averages by width.
    """

    g: Player
    d: Player
    ema: Any
    extra: Mapping[str, Any]


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
    extra: dict[str, Any] = {
        name: jax.tree.map(jnp.float32, regulariser.state)
        for name, (regulariser, _) in gan.regularisers.items()
        if regulariser.state is not None
    }
    if gan.train.augment_p == ADAPTIVE:
        extra[ADA] = augmentation.adaptive_state()
    if gan.optim.ema_widths:
        extra[AVERAGES] = {
            f"{width:g}": jax.tree.map(jnp.copy, g.params) for width in gan.optim.ema_widths
        }
    return GanState(g, d, jax.tree.map(jnp.copy, g.params), extra)


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

    def update_d(carry: Any, xs: tuple[Any, Batch]) -> tuple[Any, Scalars]:
        d, extra = carry
        number, real = xs
        seen = images_seen + global_batch * (number - 1)
        when = When(seen, step * updates + number - 1, _augment_p(gan, extra, seen))
        update_key = jax.random.fold_in(key, number)
        d, extra, scalars = update_discriminator(
            gan, g_weights, state.g.stats, d, extra, update_key, real, when
        )
        if ADA in extra:
            ada = augmentation.adapted(extra[ADA], scalars["accuracy/real"], global_batch)
            extra = {**extra, ADA: ada}
            scalars["augment_p"] = ada["p"]
        return (d, extra), scalars

    numbers = jnp.arange(1, updates + 1)
    carry = (state.d, state.extra)
    (d, extra), d_scalars = repeat(update_d, carry, (numbers, reals), unroll=gan.unroll)

    last = jax.tree.map(lambda x: x[-1], reals)
    g_key = jax.random.fold_in(key, 0)
    when = When(images_seen, (step + 1) * updates, _augment_p(gan, extra, images_seen))
    g, g_scalars = update_generator(gan, state.g, d, g_vectors, g_key, last, when)

    decay = optimizer.average_decay(gan.optim, step, images_seen, global_batch * updates)
    ema = optax.incremental_update(g.params, state.ema, 1 - decay)
    if AVERAGES in extra:
        extra = {**extra, AVERAGES: power_average.updated(extra[AVERAGES], g.params, step)}
    return GanState(g, d, ema, extra), jax.tree.map(jnp.mean, d_scalars) | g_scalars


def _augment_p(gan: Gan, extra: Mapping[str, Any], images_seen: Any) -> Any:
    if ADA in extra:
        return extra[ADA]["p"]
    return optimizer.value(gan.train.augment_p, images_seen)
