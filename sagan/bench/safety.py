"""Measures what the training loop's safety checks cost.

Dispatches with and without the checks take turns. With them, the compiled program skips steps with
non-finite numbers, and the host runs the watchdog, the accounting of time, the listener for stop
requests and the reader of skipped steps. Checks that run only at log lines, samples and checkpoints
are timed alone, and their cost is spread over the steps between two of them. Hashing a checkpoint
runs beside training, but is counted as if training waited for it.
"""

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sagan.bench.setup import Setup
from sagan.bench.timing import quartiles, say, times, turns
from sagan.runs import manifest
from sagan.runs.checkpoint import FOLDER, Checkpoints
from sagan.tasks import Preview
from sagan.training import nonfinite
from sagan.training.goodput import Goodput
from sagan.training.health import RunHealth
from sagan.training.phase import Activity, Phase
from sagan.training.stop import StopRequest
from sagan.training.watchdog import Watchdog


def measure(setup: Setup, repeats: int) -> dict[str, Any]:
    """Measures what fraction of the training time the checks against NaN and collapse take.

    A turn is one dispatch of steps with the checks and one without them.

    Args:
      repeats: number of turns.

    Returns:
      `share_by_turns`: the median over turns of (with - without) / without, with its quartiles.
      `share_of_events`: the time of log lines, samples and manifests, which come once in many
        steps, divided by the time of the steps between them.
      `share`: the sum of the two.
      `skipping_alone_seconds_median`: time of skipping in a program of its own. It is an upper
        bound: that program reads and writes the whole state, which the training step need not.
    """
    programs, states, scalars = [], [], {}
    batch = next(setup.batches)
    for checked in (False, True):
        say(f"compiling the step {'with' if checked else 'without'} skipping of non-finite steps")
        program = setup.compile(setup.dispatch(skip_nonfinite=checked))
        state, scalars = program(setup.create(), setup.pipeline.data, batch)
        jax.block_until_ready(state)
        programs.append(program)
        states.append(state)
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        config, task = setup.config, setup.task
        watcher = task.health(config.guard, setup.source, None)
        health = RunHealth(workdir, config, task.watched, watcher, setup.devices, states[1])
        result = _in_turns(setup, health, programs, states, workdir, repeats)
        skipping = _skipping_alone(task.watched, states[1].task, scalars, repeats)
        result["skipping_alone_seconds_median"] = skipping
        seconds = _events(setup, health, states[1], scalars, workdir, repeats)
    step = result["without_seconds_median"] / setup.steps
    every = {
        "log_line": config.log.every_steps,
        "samples": config.sample.every_steps,
        "manifest": config.checkpoint.every_steps,
    }
    result |= {f"{name}_seconds": value for name, value in seconds.items()}
    result["share_of_events"] = sum(seconds[n] / (every[n] * step) for n in every if every[n])
    result["share"] = result["share_by_turns"] + result["share_of_events"]
    return result


def _in_turns(
    setup: Setup, health: RunHealth, programs: Any, states: Any, workdir: Path, repeats: int
) -> dict[str, Any]:
    host: list[float] = []
    numbers = itertools.count(2 * setup.steps, setup.steps)
    activity = Activity(Phase.STEPPING)
    Goodput(workdir, 0, activity)

    def dispatch(checked: bool) -> Any:
        state, batch = states[checked], next(setup.batches)
        states[checked], scalars = programs[checked](state, setup.pipeline.data, batch)
        jax.block_until_ready((states[checked], scalars))
        return scalars

    with Watchdog(workdir, 900, 0, activity) as watchdog, StopRequest(activity) as stop:

        def checked_dispatch() -> None:
            scalars, step = dispatch(True), next(numbers)
            begin = time.perf_counter()
            with activity.during(Phase.READING):
                watchdog.beat(step)
            health.dispatched(step, scalars)
            health.wait()
            stop.reached(step)
            host.append(time.perf_counter() - begin)

        spent = turns(lambda: dispatch(False), checked_dispatch, repeats, "without and with checks")
    shares = [b / a - 1 for a, b in zip(*spent, strict=True)]
    return {
        "without_seconds_median": statistics.median(spent[0]),
        "with_seconds_median": statistics.median(spent[1]),
        "host_seconds_median": statistics.median(host),
        "share_by_turns": statistics.median(shares),
        "share_by_turns_quartiles": list(quartiles(shares)[::2]),
    }


def _skipping_alone(watched: Any, state: Any, scalars: Any, repeats: int) -> float:
    """Returns the seconds of skipping in a program of its own, an upper bound of its cost."""
    compiled = jax.jit(nonfinite.keep_finite, static_argnums=0)
    seen = {name: scalars[name] for name in watched if name in scalars}

    def once() -> None:
        jax.block_until_ready(compiled(watched, state, state, seen))

    return statistics.median(times(once, repeats, "skipping alone"))


def _events(
    setup: Setup, health: RunHealth, state: Any, scalars: Any, workdir: Path, repeats: int
) -> dict[str, float]:
    """Returns the seconds to check a log line, to check samples, and to write a manifest."""
    scalars = setup.devices.fetch(scalars)
    columns, size = setup.config.sample.num_per_class, setup.config.model.image_size
    sheet = np.random.default_rng(0).integers(0, 256, (16 * columns, size, size, 3), np.uint8)
    preview = Preview(sheet[0], {}, sheet, np.repeat(np.arange(16), columns))
    say("saving a checkpoint")
    checkpoints = Checkpoints(workdir, setup.config.checkpoint)
    state = setup.devices.to_global(state)
    checkpoints.save(1, state, {"none": jnp.zeros(1)}, {}, worth_keeping=())
    checkpoints.wait()
    checkpoints.close()
    saved = workdir / FOLDER / "1"
    found = {
        "log_line": times(lambda: health.logged(1, scalars), repeats, "log line"),
        "samples": times(lambda: health.previewed(1, preview), repeats, "samples"),
        "manifest": times(lambda: manifest.write(saved), repeats, "manifest"),
    }
    return {name: statistics.median(seconds) for name, seconds in found.items()}
