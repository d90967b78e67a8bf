"""The algorithm: one generator update and the discriminator updates before it.

Everything here is pure and written for one device under the axis `data`; `Devices.compile` maps
it. Every random draw is a function of (seed, step, update, global index in the batch), so the
numbers do not depend on how many devices there are; with `train.accumulate_steps` the parts that
batch norm sees apart do, since each device cuts up its own share.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, UInt32

from sagan.config import Config
from sagan.config import plugins as registry
from sagan.data.pipeline import Batch, decode
from sagan.models.layers import spectral
from sagan.parallel import jaxprs
from sagan.parallel.devices import AXIS, first_index, mean_over_devices
from sagan.tasks.gan import optim, telemetry
from sagan.tasks.gan.draws import AUGMENT, PENALTY, OneKey, index_keys, latents, of_stream
from sagan.tasks.gan.losses import LOSSES, PENALTIES, GanLoss, Penalty, find
from sagan.training import gate

Scalars = dict[str, Float[Array, ""]]


class Player(NamedTuple):
    """One side of the game. `stats` has `spectral_stats` and, for the generator, `batch_stats`."""

    params: Any
    stats: Mapping[str, Any]
    opt_state: Any


class TrainState(NamedTuple):
    """All that changes. `ema` averages the generator's parameters; `key` stays as it began."""

    step: Int[Array, ""]
    key: UInt32[Array, " 2"]
    g: Player
    d: Player
    ema: Any


class Gan(NamedTuple):
    """All that does not change."""

    config: Config
    generator: nn.Module
    discriminator: nn.Module
    loss: GanLoss
    penalty: Penalty | None
    g_optim: optax.GradientTransformation
    d_optim: optax.GradientTransformation


def build(config: Config, num_devices: int) -> Gan:
    """Makes a Gan from a resolved config.

    Raises: ConfigError if a model, loss or penalty is unknown, or the batch does not divide.
    """
    train = config.train
    model = registry.load("models", config.model.name, field="model.name")
    groups = None
    if config.model.batch_norm_group is not None:
        size = config.model.batch_norm_group
        groups = tuple(tuple(range(i, i + size)) for i in range(0, num_devices, size))
    networks = model.build(config.model, AXIS, groups)
    penalty = None
    if train.penalty != "none":
        penalty = find(PENALTIES, train.penalty, "train.penalty")
    return Gan(
        config,
        networks.generator,
        networks.discriminator,
        find(LOSSES, train.loss, "train.loss"),
        penalty,
        optim.adam(config.optim, config.optim.g_learning_rate, 1),
        optim.adam(config.optim, config.optim.d_learning_rate, train.d_steps_per_g_step),
    )


def init(gan: Gan) -> TrainState:
    """Draws the first state from `config.seed`."""
    config = gan.config
    key = jax.random.key(config.seed)
    g_key, d_key, spectral_key, train_key = jax.random.split(key, 4)
    label = None if config.model.num_classes is None else jnp.zeros(1, jnp.int32)
    size = config.model.image_size
    z = jnp.zeros((1, config.model.z_dim))
    g = dict(gan.generator.init(g_key, z, label, train=True))
    d = dict(gan.discriminator.init(d_key, jnp.zeros((1, size, size, 3)), label, train=True))
    g_spectral = spectral.init(g["params"], spectral_key) if config.model.spectral_norm_g else {}
    d_spectral = spectral.init(d["params"], spectral_key) if config.model.spectral_norm_d else {}
    g_stats = {"spectral_stats": g_spectral, "batch_stats": g.get("batch_stats", {})}
    return TrainState(
        jnp.zeros((), jnp.int32),
        jax.random.key_data(train_key),
        Player(g["params"], g_stats, gan.g_optim.init(g["params"])),
        Player(d["params"], {"spectral_stats": d_spectral}, gan.d_optim.init(d["params"])),
        jax.tree.map(jnp.copy, g["params"]),
    )


def train_step(gan: Gan, state: TrainState, reals: Batch) -> tuple[TrainState, Scalars]:
    """Advances `state` by one generator update.

    Args:
      reals: this device's batches, stacked: one per discriminator update, in order.

    Returns:
      The next state, and scalars; those of the discriminator are means over its updates.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    # The generator does not move while the discriminator does.
    g_vectors = spectral.iterate(state.g.params, state.g.stats["spectral_stats"])
    g_weights = spectral.normalize(state.g.params, g_vectors)

    def update_d(d: Player, xs: tuple[Any, Batch]) -> tuple[Player, Scalars]:
        number, real = xs
        return _update_d(gan, g_weights, state.g.stats, d, jax.random.fold_in(key, number), real)

    updates, batch_size = reals.image.shape[:2]
    numbers = jnp.arange(1, updates + 1)
    d, d_scalars = _scan(update_d, state.d, (numbers, reals))

    g_key = jax.random.fold_in(key, 0)
    g, g_scalars = _update_g(gan, state.g, d, g_vectors, g_key, batch_size)
    optim_config = gan.config.optim
    decay = jnp.where(state.step + 1 < optim_config.ema_start_step, 0.0, optim_config.ema_decay)
    ema = optax.incremental_update(g.params, state.ema, 1 - decay)
    scalars = jax.tree.map(jnp.mean, d_scalars) | g_scalars
    return TrainState(state.step + 1, state.key, g, d, ema), scalars


def program(
    gan: Gan, state: TrainState, whole: Any, batches: Any, *, gated: bool = True
) -> tuple[TrainState, dict[str, Any]]:
    """Runs the steps of one dispatch on one device; `Devices.compile` maps it over all.

    Args:
      whole: the pipeline's `data`.
      batches: what the pipeline feeds, (steps, updates, B, …).
      gated: steps with numbers that are not finite change nothing (`sagan.gate`).

    Returns:
      The state after, and the scalars of the last step with `guard/skipped`, how many steps of
      the run changed nothing; the gate's report on every step is among them.
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
        updates, size = jax.tree.leaves(batch)[0].shape[:2]
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        numbers = jnp.arange(1, updates + 1)
        keys = jax.vmap(
            lambda n: index_keys(jax.random.fold_in(key, n), first_index(size), size, AUGMENT)
        )(numbers)
        moved, scalars = train_step(
            gan,
            state,
            decode(gan.config.data, gan.config.model.num_classes is not None, whole, batch, keys),
        )
        if not gated:
            return moved, scalars
        kept, report = gate.keep_finite(state, moved, scalars)
        return kept, scalars | report

    state, scalars = _scan(step, state, batches)
    scalars = {k: x if k in (gate.SKIPPED, gate.SEEN) else x[-1] for k, x in scalars.items()}
    scalars["guard/skipped"] = state.step - optim.num_updates(state.g.opt_state)
    scalars |= telemetry.mechanisms({"g": state.g, "d": state.d}, gan.config.log.sigma)
    return state, scalars


def _scan(step: Any, carry: Any, xs: Any) -> tuple[Any, Any]:
    """Scans; on the CPU unrolled where the loop would hold a convolution.

    XLA:CPU takes a convolution's gradient up to a hundred times slower in a loop. The layers of
    this package are matrix products there; another model's need not be. A loop is compiled once,
    so a training starts in half the time.
    """
    step = jax.jit(step)  # traced once, however it is repeated
    length = len(jax.tree.leaves(xs)[0])
    first = jax.tree.map(lambda x: x[0], xs)
    if jax.default_backend() != "cpu" or not (
        length == 1 or jaxprs.calls(jax.make_jaxpr(step)(carry, first), "conv_general_dilated")
    ):
        return jax.lax.scan(step, carry, xs)
    ys = []
    for i in range(length):
        carry, y = step(carry, jax.tree.map(lambda x: x[i], xs))  # noqa: B023
        ys.append(y)
    return carry, jax.tree.map(lambda *y: jnp.stack(y), *ys)


def _update_d(
    gan: Gan, g_weights: Any, g_stats: Any, d: Player, key: OneKey, real: Batch
) -> tuple[Player, Scalars]:
    """Moves the discriminator alone: its parameters, Adam, and u once."""
    vectors = spectral.iterate(d.params, d.stats["spectral_stats"])
    first = first_index(len(real.image))

    def part_loss(params: Any, part: slice, carry: None) -> tuple[Array, tuple[Scalars, None]]:
        image, label = jax.tree.map(lambda x: x[part], real)
        keys = index_keys(key, first + part.start, len(image))
        z, fake_label = latents(gan.config, keys)
        fake, _ = _generate(gan, g_weights, g_stats["batch_stats"], z, fake_label)
        weights = {"params": spectral.normalize(params, vectors)}

        def discriminate(image: Array, label: Array | None) -> Array:
            return gan.discriminator.apply(weights, image, label, train=True)  # type: ignore

        # One pass over both halves; there are no batch statistics to mix.
        both = jax.tree.map(
            lambda a, b: jnp.concatenate([a, b]), (image, label), (fake, fake_label)
        )
        logits = discriminate(*both)
        real_logits, fake_logits = jnp.split(logits, 2)
        loss = gan.loss.discriminator(real_logits, fake_logits)
        scalars = {
            "loss/d": loss,
            "accuracy/real": jnp.mean(real_logits > 0),
            "accuracy/fake": jnp.mean(fake_logits < 0),
            "logits/real": jnp.mean(real_logits),
            "logits/fake": jnp.mean(fake_logits),
        }
        if gan.penalty is not None:
            penalty_keys = of_stream(keys, PENALTY)
            value = gan.penalty(lambda x: discriminate(x, label), image, fake, penalty_keys)
            scalars["loss/penalty"] = value
            loss = loss + gan.config.train.penalty_weight * value
        return loss, (scalars, carry)

    grads, scalars, _ = _mean_gradient(gan, part_loss, d.params, len(real.image), None)
    scalars["grad_norm/d"] = _norm(grads)
    return _apply(gan.d_optim, d, grads, {"spectral_stats": spectral.moved(vectors)}), scalars


def _update_g(
    gan: Gan, g: Player, d: Player, vectors: Any, key: OneKey, batch_size: int
) -> tuple[Player, Scalars]:
    """Moves the generator alone: its parameters, Adam, batch statistics, and u once."""
    d_vectors = spectral.iterate(d.params, d.stats["spectral_stats"])  # used, not kept
    d_weights = {"params": spectral.normalize(d.params, d_vectors)}
    first = first_index(batch_size)

    def part_loss(params: Any, part: slice, batch_stats: Any) -> tuple[Array, tuple[Scalars, Any]]:
        keys = index_keys(key, first + part.start, part.stop - part.start)
        z, label = latents(gan.config, keys)
        weights = spectral.normalize(params, vectors)
        fake, batch_stats = _generate(gan, weights, batch_stats, z, label)
        logits = gan.discriminator.apply(d_weights, fake, label, train=True)
        loss = gan.loss.generator(logits)  # type: ignore
        return loss, ({"loss/g": loss}, batch_stats)

    grads, scalars, batch_stats = _mean_gradient(
        gan, part_loss, g.params, batch_size, g.stats["batch_stats"]
    )
    scalars["grad_norm/g"] = _norm(grads)
    stats = {"spectral_stats": spectral.moved(vectors), "batch_stats": batch_stats}
    return _apply(gan.g_optim, g, grads, stats), scalars


def _mean_gradient(
    gan: Gan, part_loss: Any, params: Any, batch_size: int, carry: Any
) -> tuple[Any, Scalars, Any]:
    """Averages gradient and scalars over the parts of this device's batch, then over devices.

    Each part sees the same spectral estimate, so parts equal the whole in everything but batch
    statistics: batch norm normalises part by part, and its averages (`carry`) move once a part.
    """
    parts = gan.config.train.accumulate_steps
    size = batch_size // parts
    gradient = jax.grad(part_loss, has_aux=True)
    sums = None
    for number in range(parts):
        part = slice(number * size, (number + 1) * size)
        grads, (scalars, carry) = gradient(params, part, carry)
        sums = (grads, scalars) if sums is None else jax.tree.map(jnp.add, sums, (grads, scalars))
    grads, scalars = mean_over_devices(jax.tree.map(lambda x: x / parts, sums))
    return grads, scalars, carry


def _norm(grads: Any) -> Array:
    return jnp.linalg.norm(ravel_pytree(grads)[0])  # as one vector, which Adam takes it as too


def _generate(
    gan: Gan, weights: Any, batch_stats: Any, z: Array, label: Array | None
) -> tuple[Array, Any]:
    variables = {"params": weights, "batch_stats": batch_stats}
    image, moved = gan.generator.apply(variables, z, label, train=True, mutable=["batch_stats"])
    return image, moved.get("batch_stats", {})


def _apply(
    optimizer: optax.GradientTransformation, player: Player, grads: Any, stats: Any
) -> Player:
    updates, opt_state = optimizer.update(grads, player.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), stats, opt_state)
