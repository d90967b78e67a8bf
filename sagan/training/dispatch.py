"""The program of a dispatch: a few training steps that the host starts with one call."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sagan.config import Config
from sagan.data.pipeline import Batch
from sagan.parallel.devices import first_index
from sagan.parallel.keys import AUGMENT, index_keys
from sagan.parallel.scan import repeat
from sagan.tasks import Task
from sagan.training import nonfinite
from sagan.training.state import RunState

Decode = Callable[[Any, Any, Any], Batch]  # as `data.pipeline.decode`, without its settings


class Cadence(NamedTuple):
    """Steps between log lines, previews, checkpoints and scores (0: never), and the last step."""

    log: int
    preview: int
    save: int
    score: int
    last_step: int

    @classmethod
    def of(cls, config: Config) -> "Cadence":
        return cls(
            config.log.every_steps,
            config.sample.every_steps,
            config.checkpoint.every_steps,
            config.eval.every_steps,
            config.train.steps,
        )


def plan(step: int, steps_per_dispatch: int, cadence: Cadence) -> Iterator[tuple[int, int]]:
    """Yields (first step, number of steps) of every dispatch from `step` to the last step.

    A dispatch never runs past a step at which something is due, nor past the last one. Where a
    whole dispatch does not fit, single steps fill the gap, so only two programs are ever compiled.
    The plan from a step depends on that step alone, so a resumed run has the same dispatches.

    Args:
      step: number of steps taken so far.
    """
    *cadences, last_step = cadence
    while step < last_step:
        due = min([last_step, *(step - step % every + every for every in cadences if every > 0)])
        number = steps_per_dispatch if step + steps_per_dispatch <= due else 1
        yield step, number
        step += number


def images(decode: Decode, whole: Any, batch: Any, key: Any) -> Batch:
    """Decodes and augments one step's real images on one device.

    Args:
      key: the step's key. Each image is augmented by a key of its own, which depends on the number
        of its batch within the step and on its index in the global batch.
    """
    updates, size = jax.tree.leaves(batch)[0].shape[:2]
    keys = jax.vmap(
        lambda number: index_keys(jax.random.fold_in(key, number), first_index(size), size, AUGMENT)
    )(jnp.arange(1, updates + 1))
    return decode(whole, batch, keys)


def program(
    task: Task,
    decode: Decode,
    state: RunState,
    whole: Any,
    batches: Any,
    *,
    skip_nonfinite: bool = True,
) -> tuple[RunState, dict[str, Any]]:
    """Runs the steps of one dispatch on one device; `Devices.compile` maps it over all.

    Args:
      whole: the pipeline's `data`.
      batches: what `Pipeline.batches` yields, (steps, batches per step, B, …).
      skip_nonfinite: whether steps with numbers that are not finite change nothing.

    Returns:
      The state after the last step, and that step's scalars with the task's telemetry,
      `guard/skipped` (number of steps of the run that changed nothing) and a report on each step
      (see `nonfinite.split`).
    """

    def step(state: RunState, batch: Any) -> tuple[RunState, dict[str, Any]]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        reals = images(decode, whole, batch, key)
        moved, scalars = task.step(state.task, reals, state.step, key)
        skipped = state.skipped
        if skip_nonfinite:
            moved, bad, report = nonfinite.keep_finite(task.watched, state.task, moved, scalars)
            skipped = skipped + bad
            scalars |= report
        return RunState(state.step + 1, state.key, skipped, moved), scalars

    state, scalars = repeat(step, state, batches, unroll=task.unroll)
    scalars = nonfinite.last(scalars)
    scalars["guard/skipped"] = state.skipped
    return state, scalars | task.telemetry(state.task)


def bind(task: Task, decode: Decode, **options: Any) -> Callable[..., Any]:
    """Returns `program` with everything but its arrays filled in."""
    return functools.partial(program, task, decode, **options)
