"""The state of a run: what the loop counts, and the task's own state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

from sagan.tasks import Task


class RunState(NamedTuple):
    """Everything that changes while a run trains.

    Attributes:
      step: number of steps taken, skipped ones included.
      key: random key of the run, as data; it never changes, and each step folds in its number.
      skipped: number of steps that changed nothing because their numbers were not finite.
      task: state of the task.
    """

    step: Int[Array, ""]
    key: UInt32[Array, " 2"]
    skipped: Int[Array, ""]
    task: Any


def init(task: Task, seed: int) -> RunState:
    """Draws the first state from the seed: three keys for the task, one for all later steps."""
    *task_keys, run_key = jax.random.split(jax.random.key(seed), 4)
    zero = jnp.zeros((), jnp.int32)
    return RunState(zero, jax.random.key_data(run_key), zero, task.init(task_keys))
