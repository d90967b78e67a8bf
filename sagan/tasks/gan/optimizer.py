"""Adam for each player, and values that follow a schedule."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sagan.config import GanOptimConfig
from sagan.config.schedules import Schedule, parse

Value = float | Float[Array, ""]


def value(setting: float | str | Schedule, images_seen: Float[Array, ""]) -> Value:
    """Returns a config value at a point of the training.

    Args:
      setting: a number, or a schedule over the number of real images seen.
      images_seen: real images that the discriminator has seen so far.
    """
    schedule = setting if isinstance(setting, Schedule) else parse(setting)
    if not isinstance(schedule, Schedule):
        return schedule
    progress = jnp.clip(images_seen / schedule.images, 0, 1)  # 0 at the start, 1 at the end
    if schedule.kind == "cosine":
        progress = (1 - jnp.cos(jnp.pi * progress)) / 2
    return schedule.start + (schedule.end - schedule.start) * progress


def adam(
    config: GanOptimConfig, learning_rate: float | str, images_seen: Float[Array, ""]
) -> optax.GradientTransformation:
    """Returns Adam with the values that its settings have at this point of the training.

    The state's structure does not depend on the settings, so the transformation may be made anew
    for each update.

    Source: Adam (arXiv:1412.6980).
    """
    return optax.flatten(
        optax.adam(
            value(learning_rate, images_seen),
            config.beta1,
            value(config.beta2, images_seen),
            config.epsilon,
        )
    )
