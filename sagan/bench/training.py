"""Times the training step: whole, and the two players' updates apart."""

import functools
import time
from pathlib import Path
from typing import Any

import jax

from sagan.bench import flops, idle
from sagan.bench.game import Game
from sagan.bench.timing import rate, say, spread, times
from sagan.data.pipeline import Batch, decode
from sagan.models.layers import spectral
from sagan.parallel.devices import first_index
from sagan.tasks.gan import draws
from sagan.tasks.gan import step as train_step

_TRACED_DISPATCHES = 5


def whole(
    game: Game, state: Any, repeats: int, trace: Path | None = None
) -> tuple[dict[str, Any], Any]:
    """Compiles and times the program that training runs.

    Args:
      state: donated.
      trace: a folder for a profile of a few dispatches, as training makes them.

    Returns: figures, and the state after.
    """
    program = game.compile()
    batch = next(game.batches)
    say(f"compiling the training step of {game.config.name}")
    found = _compile(program, state, game, batch)
    carried = [state]

    def step() -> None:
        carried[0], scalars = program(carried[0], game.pipeline.data, next(game.batches))
        jax.block_until_ready((carried[0], scalars))

    say("running it")
    seconds = times(step, repeats, "training")
    found |= spread(seconds) | rate(game.images_per_dispatch, seconds)
    found["seconds_per_step"] = found["seconds_median"] / game.steps
    if found.get("flops_per_device"):
        speed = found["flops_per_device"] / found["seconds_median"]
        found["flops_per_second_per_device"] = speed
        found["share_of_peak"] = flops.share_of_peak(speed, game.device_kind)
        found["share_of_measured_matmul"] = speed / flops.measured_matmul(game.config.model.dtype)
    memory = game.devices.describe_memory() or {}
    if "peak_bytes_in_use" in memory:
        found["peak_bytes_in_use"] = memory["peak_bytes_in_use"]
    if trace is not None:
        found["trace"] = str(trace)
        carried[0] = _trace(game, program, carried[0], trace)
        found |= idle.of_trace(trace)
    return found, carried[0]


def _compile(program: Any, state: Any, game: Game, batch: Any) -> dict[str, Any]:
    """Compiles ahead, to look at the program; the cache gives it to the first call again."""
    begin = time.perf_counter()
    compiled = program.lower(state, game.pipeline.data, batch).compile()
    # From the cache of compiled programs, if this one was compiled here before.
    found: dict[str, Any] = {"compile_seconds": time.perf_counter() - begin}
    jaxpr = flops.jaxpr_of(program, state, game.pipeline.data, batch)
    count = flops.of_compiled(compiled, jaxpr)
    if count is not None:
        found["flops_per_device"] = count
        found["matmul_flops_per_device"] = flops.matmuls(jaxpr)
    return found | flops.bytes_of(compiled)


def _trace(game: Game, program: Any, state: Any, folder: Path) -> Any:
    """Profiles dispatches that run ahead of the devices, as in training."""
    say(f"tracing {_TRACED_DISPATCHES} dispatches into {folder}")
    with jax.profiler.trace(str(folder)):
        for _ in range(_TRACED_DISPATCHES):
            state, _ = program(state, game.pipeline.data, next(game.batches))
        jax.block_until_ready(state)
    return state


def players(game: Game, state: Any, repeats: int) -> tuple[dict[str, Any], Any]:
    """Times one update of each player alone."""
    found = {}
    for name, program in (("discriminator", _only_d), ("generator", _only_g)):
        say(f"compiling the update of the {name} alone")
        compiled, carried = game.compile(program), [state]

        def step(compiled: Any = compiled, carried: list[Any] = carried) -> None:
            batch = next(game.batches)
            carried[0], scalars = compiled(carried[0], game.pipeline.data, batch)
            jax.block_until_ready((carried[0], scalars))

        seconds = times(step, repeats, name)
        found[name] = spread(seconds) | rate(game.config.train.batch_size, seconds)
        state = carried[0]
    return found, state


def _only_d(gan: train_step.Gan, state: train_step.TrainState, data: Any, batches: Any) -> Any:
    real = jax.tree.map(lambda x: x[0], _decoded(gan, state, data, batches))
    vectors = spectral.iterate(state.g.params, state.g.stats["spectral_stats"])
    weights = spectral.normalize(state.g.params, vectors)
    key = jax.random.wrap_key_data(state.key)
    d, scalars = train_step._update_d(gan, weights, state.g.stats, state.d, key, real)
    return state._replace(d=d), scalars


def _only_g(gan: train_step.Gan, state: train_step.TrainState, data: Any, batches: Any) -> Any:
    size = jax.tree.leaves(batches)[0].shape[2]
    vectors = spectral.iterate(state.g.params, state.g.stats["spectral_stats"])
    key = jax.random.wrap_key_data(state.key)
    g, scalars = train_step._update_g(gan, state.g, state.d, vectors, key, size)
    return state._replace(g=g), scalars


def decoded(gan: train_step.Gan, state: train_step.TrainState, data: Any, batches: Any) -> Any:
    """The program's input alone: what the step's images are made by, and no step."""
    return state, jax.tree.map(lambda x: x.sum(), _decoded(gan, state, data, batches).image)


def _decoded(gan: train_step.Gan, state: train_step.TrainState, data: Any, batches: Any) -> Batch:
    batch = jax.tree.map(lambda x: x[0], batches)
    updates, size = jax.tree.leaves(batch)[0].shape[:2]
    key = jax.random.wrap_key_data(state.key)
    make = functools.partial(draws.index_keys, begin=first_index(size), size=size)
    keys = jax.vmap(lambda n: make(jax.random.fold_in(key, n), stream=draws.AUGMENT))(
        jax.numpy.arange(updates)
    )
    return decode(gan.config.data, gan.config.model.num_classes is not None, data, batch, keys)
