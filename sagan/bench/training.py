"""Times the training step: all of it, and the updates of the two networks alone."""

import math
import time
from pathlib import Path
from typing import Any

import jax

from sagan.bench import idle
from sagan.bench.setup import Setup
from sagan.bench.timing import rate, say, spread, times
from sagan.parallel import chips, flops
from sagan.parallel.platform import Platform

_TRACED_DISPATCHES = 5


class Step:
    """The program that training runs, compiled. A call runs one dispatch and waits for its end.

    Attributes:
      figures: seconds of the compilation, and the program's arithmetic and memory.
      state: the state after the last call. The arrays of the states before are reused (donated).
    """

    def __init__(self, setup: Setup, state: Any):
        self.program = setup.compile(setup.dispatch())
        say(f"compiling the training step of {setup.config.name}")
        self.figures = _compile(self.program, state, setup, next(setup.batches))
        self.setup, self.state = setup, state

    def __call__(self) -> None:
        batch = next(self.setup.batches)
        self.state, scalars = self.program(self.state, self.setup.pipeline.data, batch)
        jax.block_until_ready((self.state, scalars))


def whole(
    setup: Setup, state: Any, repeats: int, trace: Path | None = None
) -> tuple[dict[str, Any], Any]:
    """Compiles and times the program that training runs.

    Args:
      state: the first state; its arrays are reused (donated).
      trace: a folder for a profile of a few dispatches.

    Returns: figures, and the state after the last step.
    """
    step = Step(setup, state)
    say("running the training step")
    seconds = times(step, repeats, "training")
    found = step.figures | spread(seconds) | rate(setup.images_per_dispatch, seconds)
    found["seconds_per_step"] = found["seconds_median"] / setup.steps
    if found.get("flops_per_device"):
        speed = found["flops_per_device"] / found["seconds_median"]
        kind = setup.platform.device_kind
        share = chips.share_of_peak(speed, kind)
        found["flops_per_second_per_device"] = speed
        found["share_of_peak"] = f"unknown: no peak known for {kind}" if share is None else share
        dtype = setup.config.model.dtype
        found["share_of_measured_matmul"] = speed / measured_matmul(dtype, setup.platform)
    memory = setup.devices.describe_memory() or {}
    if "peak_bytes_in_use" in memory:
        found["peak_bytes_in_use"] = memory["peak_bytes_in_use"]
    if trace is not None:
        found["trace"] = str(trace)
        step.state = _trace(setup, step.program, step.state, trace)
        found |= idle.of_trace(trace)
    return found, step.state


def _compile(program: Any, state: Any, setup: Setup, batch: Any) -> dict[str, Any]:
    """Compiles the program and counts its arithmetic and memory.

    The first call of `program` then takes the compiled program from JAX's cache. This function
    does so too if this machine has compiled it before; `compile_seconds` is short then.
    """
    arguments = state, setup.pipeline.data, batch
    begin = time.perf_counter()
    compiled = program.lower(*arguments).compile()
    found: dict[str, Any] = {"compile_seconds": time.perf_counter() - begin}
    jaxpr = flops.jaxpr_of(program, *arguments)
    count = flops.of_compiled(compiled, jaxpr, setup.platform)
    if count is not None:
        found["flops_per_device"] = count
        found["matmul_flops_per_device"] = flops.matmuls(jaxpr)
    return found | flops.bytes_of(compiled)


def _trace(setup: Setup, program: Any, state: Any, folder: Path) -> Any:
    """Profiles dispatches without waiting for each one, as the training loop does."""
    say(f"tracing {_TRACED_DISPATCHES} dispatches into {folder}")
    with jax.profiler.trace(str(folder)):
        for _ in range(_TRACED_DISPATCHES):
            state, _ = program(state, setup.pipeline.data, next(setup.batches))
        jax.block_until_ready(state)
    return state


def updates(setup: Setup, state: Any, repeats: int) -> tuple[dict[str, Any], Any]:
    """Times one update of each network alone.

    Returns: figures of `discriminator` and `generator`, and the state after the last update.
    """
    found = {}
    programs = {"discriminator": setup.discriminator_update, "generator": setup.generator_update}
    for name, program in programs.items():
        say(f"compiling the update of the {name} alone")
        compiled, carried = setup.compile(program), [state]

        def step(compiled: Any = compiled, carried: list[Any] = carried) -> None:
            batch = next(setup.batches)
            carried[0], scalars = compiled(carried[0], setup.pipeline.data, batch)
            jax.block_until_ready((carried[0], scalars))

        seconds = times(step, repeats, name)
        found[name] = spread(seconds) | rate(setup.config.train.batch_size, seconds)
        state = carried[0]
    return found, state


def measured_matmul(dtype: str, platform: Platform) -> float:
    """Measures the speed of large square matrix products in `dtype`, in FLOP/s of one device."""
    size, products = (2048, 2) if platform.backend == "cpu" else (8192, 8)
    x, w = jax.random.normal(jax.random.key(0), (2, size, size))
    # Scaled so that products of products neither grow nor vanish.
    factors = x.astype(dtype), (w / math.sqrt(size)).astype(dtype)

    @jax.jit
    def chain(x: jax.Array, w: jax.Array) -> jax.Array:  # several, so that launching costs nothing
        return jax.lax.fori_loop(0, products, lambda _, x: x @ w, x)

    seconds = times(lambda: chain(*factors).block_until_ready(), 5, "matrix products")
    return products * 2.0 * size**3 / min(seconds)
