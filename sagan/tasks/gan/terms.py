"""The terms of both players' losses: adversarial, conditioning, penalties and regularisers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sagan.data.pipeline import Batch
from sagan.models.layers.head import Judged
from sagan.parallel.keys import PENALTY, REGULARISER, of_stream
from sagan.tasks.gan import optimizer
from sagan.tasks.gan.game import Gan, Keys, When
from sagan.tasks.gan.penalties import Discriminate
from sagan.tasks.gan.regularisers import Update

Scalar = Float[Array, ""]
Terms = dict[str, Scalar]
Memory = Mapping[str, Any]  # states of regularisers, by name


class Seen(NamedTuple):
    """What an update has found out, on this device, when it adds up its loss.

    Attributes:
      real, for_real: real images and what was judged of them; None where they were not shown.
      generate_near: returns the same images as `fake`, of latents moved by (B, Z).
    """

    real: Batch | None
    fake: Batch
    for_real: Judged | None
    for_fake: Judged
    discriminate: Discriminate
    generate_near: Callable[[Array], Array]
    keys: Keys


def of_discriminator(
    gan: Gan, when: When, seen: Seen, memory: Memory
) -> tuple[Scalar, Terms, Memory]:
    """Returns the loss of the discriminator, its parts as scalars, and the regularisers' states."""
    real, for_real = seen.real, seen.for_real
    assert real is not None and for_real is not None
    conditioning, for_fake = gan.conditioning, seen.for_fake
    found: Terms = {}
    if conditioning is None or conditioning.adversarial:
        found["d"] = gan.loss.discriminator(for_real.logits, for_fake.logits)
    if gan.loss.sliced:
        assert for_real.direction is not None and for_fake.direction is not None
        found["direction"] = jnp.mean(for_fake.direction) - jnp.mean(for_real.direction)
    if conditioning is not None:
        value = conditioning.discriminator(
            for_real, _labels(real), for_fake, _labels(seen.fake), _temperature(gan)
        )
        found["conditioning_d" if conditioning.adversarial else "d"] = _weight(gan, when) * value
    if gan.penalties:
        found["penalty"] = _penalty(gan, when, seen)
    values, memory = _regularisers(gan, when, seen, memory)
    if values:
        found["regulariser_d"] = jnp.stack(values).sum()
    return _sum(found), found, memory


def of_generator(gan: Gan, when: When, seen: Seen) -> tuple[Scalar, Terms]:
    """Returns the loss of the generator, and its parts as scalars."""
    conditioning, for_fake = gan.conditioning, seen.for_fake
    found: Terms = {}
    if conditioning is None or conditioning.adversarial:
        real_logits = None if seen.for_real is None else seen.for_real.logits
        found["g"] = _adversarial_of_generator(gan, when, real_logits, for_fake.logits)
    if conditioning is not None:
        value = conditioning.generator(for_fake, _labels(seen.fake), _temperature(gan))
        found["conditioning_g" if conditioning.adversarial else "g"] = _weight(gan, when) * value
    values = [
        optimizer.value(weight, when.images) * regulariser.generator(_update(gan, when, seen))
        for regulariser, weight in gan.regularisers.values()
        if regulariser.generator is not None
    ]
    if values:
        found["regulariser_g"] = jnp.stack(values).sum()
    return _sum(found), found


def _adversarial_of_generator(
    gan: Gan, when: When, real_logits: Array | None, logits: Array
) -> Scalar:
    """Returns the adversarial loss, in which a regulariser may make some images count more."""
    chosen = [
        regulariser.select(jax.lax.stop_gradient(logits), optimizer.value(weight, when.images))
        for regulariser, weight in gan.regularisers.values()
        if regulariser.select is not None
    ]
    if not chosen:
        return gan.loss.generator(real_logits, logits)
    each = jax.vmap(lambda logit: gan.loss.generator(None, logit[None]))(logits)
    return jnp.mean(each * jnp.stack(chosen).prod(0))


def _penalty(gan: Gan, when: When, seen: Seen) -> Scalar:
    keys = of_stream(seen.keys, PENALTY)
    values = []
    for penalty, weight, every in gan.penalties:

        def value(penalty: Any = penalty) -> Scalar:
            return penalty(seen.discriminate, seen.real, seen.fake, keys)

        weight = optimizer.value(weight, when.images)
        if every > 1:
            due = when.updates % every == 0
            values.append(every * weight * jax.lax.cond(due, value, lambda: jnp.zeros(())))
        else:
            values.append(weight * value())
    return jnp.stack(values).sum()


def _regularisers(gan: Gan, when: When, seen: Seen, memory: Memory) -> tuple[list[Scalar], Memory]:
    values, memory = [], dict(memory)
    for name, (regulariser, weight) in gan.regularisers.items():
        if regulariser.discriminator is None:
            continue
        update = _update(gan, when, seen)
        value, state = regulariser.discriminator(update, memory.get(name))
        if name in memory:
            memory[name] = state
        values.append(optimizer.value(weight, when.images) * value)
    return values, memory


def _update(gan: Gan, when: When, seen: Seen) -> Update:
    real_logits = None if seen.for_real is None else seen.for_real.logits
    keys = of_stream(seen.keys, REGULARISER)
    return Update(
        seen.real,
        seen.fake,
        real_logits,
        seen.for_fake.logits,
        seen.discriminate,
        seen.generate_near,
        gan.model.z_dim,
        keys,
        when.updates,
    )


def _labels(batch: Batch) -> Array:
    assert batch.label is not None  # the conditioning was refused without classes
    return batch.label


def _weight(gan: Gan, when: When) -> Any:
    given = gan.train.conditioning_weight
    assert gan.conditioning is not None
    return optimizer.value(gan.conditioning.weight if given is None else given, when.images)


def _temperature(gan: Gan) -> float:
    given = gan.train.conditioning_temperature
    assert gan.conditioning is not None
    return gan.conditioning.temperature if given is None else given


def _sum(terms: Terms) -> Scalar:
    first, *others = terms.values()
    for term in others:
        first = first + term
    return first
