"""The optimiser of each player."""

from typing import Any

import optax
from jaxtyping import Array, Int

from sagan.config import OptimConfig


def adam(
    config: OptimConfig, learning_rate: float, updates_per_step: int
) -> optax.GradientTransformation:
    """Makes Adam, with the learning rate falling linearly to 0 where the config says so.

    Args:
      learning_rate: at the start.
      updates_per_step: of this player per generator update; the schedule counts those.

    Source: Adam (arXiv:1412.6980); two time-scales (arXiv:1706.08500).
    """
    schedule: optax.ScalarOrSchedule = learning_rate
    if config.linear_decay_steps is not None:
        schedule = optax.linear_schedule(
            learning_rate, 0.0, config.linear_decay_steps * updates_per_step
        )
    return optax.flatten(optax.adam(schedule, config.beta1, config.beta2, config.epsilon))


def num_updates(opt_state: Any) -> Int[Array, ""]:
    """Gives how many updates the state of `adam` has seen."""
    return opt_state[0].count
