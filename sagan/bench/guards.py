"""What guarding a run costs: its step with and without, by turns, and what comes now and then.

With: the gate in the compiled step and its report, the watchdog, the account of time, listening
for a stop. Without: none of them. What is done at log lines, samples and checkpoints is timed
alone and spread over the steps between two of them; hashing a checkpoint goes on beside training,
and is counted as if it did not.
"""

import functools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sagan.bench.game import Game
from sagan.bench.timing import quartiles, say, times
from sagan.runs import manifest
from sagan.runs.checkpoint import FOLDER, Checkpoints
from sagan.tasks.gan import step as train_step
from sagan.training import gate
from sagan.training.goodput import Goodput
from sagan.training.guard import Guard
from sagan.training.stop import StopRequest
from sagan.training.watchdog import Watchdog


def measure(game: Game, repeats: int) -> dict[str, Any]:
    """Takes `repeats` turns of a dispatch without and one with, both games from the same seed.

    Returns: `share_by_turns`, the median of (with - without) / without over the turns, with its
      quartiles; `share_of_events`, and `share`, their sum; `gate_alone_seconds_median`, the gate as
      a program of its own, which reads and writes the whole state once more than within the step.
    """
    programs, states, scalars = [], [], {}
    batch = next(game.batches)
    for gated in (False, True):
        say(f"compiling the step {'with' if gated else 'without'} the gate")
        program = game.compile(functools.partial(_program, gated))
        state, scalars = program(game.create(), game.pipeline.data, batch)
        jax.block_until_ready(state)
        programs.append(program)
        states.append(state)
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        guard = Guard(game.config, workdir, game.source, game.devices, states[1], None)
        result = _turns(game, guard, programs, states, workdir, repeats)
        result["gate_alone_seconds_median"] = _gate_alone(states[1], scalars, repeats)
        seconds = _events(game, guard, states[1], scalars, workdir, repeats)
    step = result["without_seconds_median"] / game.steps
    config = game.config
    every = {
        "log_line": config.log.every_steps,
        "samples": config.sample.every_steps,
        "manifest": config.checkpoint.every_steps,
    }
    result |= {f"{name}_seconds": value for name, value in seconds.items()}
    result["share_of_events"] = sum(seconds[n] / (every[n] * step) for n in every if every[n])
    result["share"] = result["share_by_turns"] + result["share_of_events"]
    return result


def _program(gated: bool, gan: train_step.Gan, *rest: Any) -> Any:
    return train_step.program(gan, *rest, gated=gated)


def _turns(
    game: Game, guard: Guard, programs: Any, states: Any, workdir: Path, repeats: int
) -> dict[str, Any]:
    spent: list[list[float]] = [[], []]
    host: list[float] = []
    with Watchdog(workdir, 900, 0) as watchdog, StopRequest() as stop:
        goodput = Goodput(workdir, 0)
        for turn in range(repeats):
            step, batch = (turn + 2) * game.steps, next(game.batches)
            for guarded in (False, True) if turn % 2 else (True, False):
                begin = time.perf_counter()
                state, scalars = programs[guarded](states[guarded], game.pipeline.data, batch)
                jax.block_until_ready((state, scalars))
                ran = time.perf_counter()
                if guarded:
                    with goodput.during("input"):
                        watchdog.beat(step)
                    guard.dispatched(step, scalars)
                    guard.land()
                    stop.reached(step)
                    host.append(time.perf_counter() - ran)
                spent[guarded].append(time.perf_counter() - begin)
                states[guarded] = state
            say(f"turn {turn + 1} of {repeats}: {spent[0][-1]:.4g} s, guarded {spent[1][-1]:.4g} s")
    shares = [b / a - 1 for a, b in zip(*spent, strict=True)]
    return {
        "without_seconds_median": statistics.median(spent[0]),
        "with_seconds_median": statistics.median(spent[1]),
        "host_seconds_median": statistics.median(host),
        "share_by_turns": statistics.median(shares),
        "share_by_turns_quartiles": list(quartiles(shares)[::2]),
    }


def _gate_alone(state: Any, scalars: Any, repeats: int) -> float:
    """For machines where the step itself varies by more than the gate costs."""
    compiled = jax.jit(gate.keep_finite)
    losses = {name: scalars[name] for name in gate.WATCHED if name in scalars}

    def once() -> None:
        jax.block_until_ready(compiled(state, state, losses))

    return statistics.median(times(once, repeats, "the gate alone"))


def _events(
    game: Game, guard: Guard, state: Any, scalars: Any, workdir: Path, repeats: int
) -> dict[str, float]:
    scalars = game.devices.fetch(scalars)
    columns, size = game.config.sample.num_per_class, game.config.model.image_size
    sheet = np.random.default_rng(0).integers(0, 256, (16 * columns, size, size, 3), np.uint8)
    labels = np.repeat(np.arange(16), columns)
    say("saving a checkpoint")
    checkpoints = Checkpoints(workdir, game.config.checkpoint, lambda: ())
    checkpoints.save(1, game.devices.to_global(state), {"none": jnp.zeros(1)}, {})
    checkpoints.wait()
    checkpoints.close()
    saved = workdir / FOLDER / "1"
    found = {
        "log_line": times(lambda: guard.logged(1, scalars), repeats, "log line"),
        "samples": times(lambda: guard.drawn(1, lambda: (sheet, labels)), repeats, "samples"),
        "manifest": times(lambda: manifest.write(saved), repeats, "manifest"),
    }
    return {name: statistics.median(seconds) for name, seconds in found.items()}
