"""Measures what the training loop's safety checks cost.

Dispatches with and without them take turns. With them: steps with non-finite numbers are skipped
in the compiled program, and the watchdog, the account of time, the listener for a stop and the
reader of the skipped steps run on the host. What happens only at log lines, samples and checkpoints
is timed alone and spread over the steps between two of them. Hashing a checkpoint runs beside
training, but is counted as if training waited for it.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sagan.bench.setup import Setup
from sagan.bench.timing import quartiles, say, times
from sagan.runs import manifest
from sagan.runs.checkpoint import FOLDER, Checkpoints
from sagan.training import gate
from sagan.training.goodput import Goodput
from sagan.training.guard import Guard
from sagan.training.stop import StopRequest
from sagan.training.watchdog import Watchdog


def measure(setup: Setup, repeats: int) -> dict[str, Any]:
    """Takes `repeats` turns of one dispatch without the checks and one with them.

    Returns:
      `share_by_turns`: the median over turns of (with - without) / without, with its quartiles.
      `share_of_events`: log lines, samples and manifests, as a share of the steps between them.
      `share`: the sum of the two.
      `skipping_alone_seconds_median`: of skipping non-finite steps as a program of its own, which
        reads and writes the whole state, as it need not inside the step.
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
        guard = Guard(setup.config, workdir, setup.source, setup.devices, states[1], None)
        result = _turns(setup, guard, programs, states, workdir, repeats)
        result["skipping_alone_seconds_median"] = _skipping_alone(states[1], scalars, repeats)
        seconds = _events(setup, guard, states[1], scalars, workdir, repeats)
    step = result["without_seconds_median"] / setup.steps
    config = setup.config
    every = {
        "log_line": config.log.every_steps,
        "samples": config.sample.every_steps,
        "manifest": config.checkpoint.every_steps,
    }
    result |= {f"{name}_seconds": value for name, value in seconds.items()}
    result["share_of_events"] = sum(seconds[n] / (every[n] * step) for n in every if every[n])
    result["share"] = result["share_by_turns"] + result["share_of_events"]
    return result


def _turns(
    setup: Setup, guard: Guard, programs: Any, states: Any, workdir: Path, repeats: int
) -> dict[str, Any]:
    spent: list[list[float]] = [[], []]
    host: list[float] = []
    with Watchdog(workdir, 900, 0) as watchdog, StopRequest() as stop:
        goodput = Goodput(workdir, 0)
        for turn in range(repeats):
            step, batch = (turn + 2) * setup.steps, next(setup.batches)
            # Each of the two goes first in every other turn.
            for checked in (False, True) if turn % 2 else (True, False):
                begin = time.perf_counter()
                state, scalars = programs[checked](states[checked], setup.pipeline.data, batch)
                jax.block_until_ready((state, scalars))
                ran = time.perf_counter()
                if checked:
                    with goodput.during("input"):
                        watchdog.beat(step)
                    guard.dispatched(step, scalars)
                    guard.land()
                    stop.reached(step)
                    host.append(time.perf_counter() - ran)
                spent[checked].append(time.perf_counter() - begin)
                states[checked] = state
            seconds = f"{spent[0][-1]:.4g} s without, {spent[1][-1]:.4g} s with checks"
            say(f"turn {turn + 1} of {repeats}: {seconds}")
    shares = [b / a - 1 for a, b in zip(*spent, strict=True)]
    return {
        "without_seconds_median": statistics.median(spent[0]),
        "with_seconds_median": statistics.median(spent[1]),
        "host_seconds_median": statistics.median(host),
        "share_by_turns": statistics.median(shares),
        "share_by_turns_quartiles": list(quartiles(shares)[::2]),
    }


def _skipping_alone(state: Any, scalars: Any, repeats: int) -> float:
    """Bounds the cost from above where the step's time varies by more than the cost."""
    compiled = jax.jit(gate.keep_finite)
    watched = {name: scalars[name] for name in gate.WATCHED if name in scalars}

    def once() -> None:
        jax.block_until_ready(compiled(state, state, watched))

    return statistics.median(times(once, repeats, "skipping alone"))


def _events(
    setup: Setup, guard: Guard, state: Any, scalars: Any, workdir: Path, repeats: int
) -> dict[str, float]:
    """Returns the seconds of one log line, one sheet of samples and one checkpoint's manifest."""
    scalars = setup.devices.fetch(scalars)
    columns, size = setup.config.sample.num_per_class, setup.config.model.image_size
    sheet = np.random.default_rng(0).integers(0, 256, (16 * columns, size, size, 3), np.uint8)
    labels = np.repeat(np.arange(16), columns)
    say("saving a checkpoint")
    checkpoints = Checkpoints(workdir, setup.config, lambda: ())
    checkpoints.save(1, setup.devices.leave(state), {"none": jnp.zeros(1)}, {})
    checkpoints.wait()
    checkpoints.close()
    saved = workdir / FOLDER / "1"
    found = {
        "log_line": times(lambda: guard.logged(1, scalars), repeats, "log line"),
        "samples": times(lambda: guard.drawn(1, lambda: (sheet, labels)), repeats, "samples"),
        "manifest": times(lambda: manifest.write(saved), repeats, "manifest"),
    }
    return {name: statistics.median(seconds) for name, seconds in found.items()}
