"""How fast the real thing runs here: train step, sampling, features, input, checkpoints.

Every figure is of the programs that training and evaluation run, on this machine's devices, with
the config's batch. Without the config's data, synthetic images of the same size take their place
and the result says so.
"""

import dataclasses
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sagan import data, mesh, sampler, train_step
from sagan.checkpoint import Checkpoints
from sagan.config import Config
from sagan.data import Source
from sagan.data._pipeline import Pipeline
from sagan.features._inception_network import OUTPUTS, Inception
from sagan.features.inception import InceptionExtractor
from sagan.typed import ConfigError

# Dense bfloat16 matrix product, peak, by device kind; from the makers' data sheets.
_PEAK_FLOPS = {
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
}
_SAMPLES = 4 * sampler.CHUNK
_FEATURE_IMAGES = 64


def run(configs: Sequence[Config], *, repeats: int, features: bool, as_json: bool) -> None:
    """Measures each config and prints a table, or one JSON object (a list for several)."""
    found = [measure(config, repeats=repeats) for config in configs]
    if features:
        for result in found:
            result["features"] = _features(repeats)
    if as_json:
        print(json.dumps(found[0] if len(found) == 1 else found))
        return
    for result in found:
        for section, values in result.items():
            if isinstance(values, dict):
                print(f"{section}:")
                for name, value in values.items():
                    print(f"  {name:28} {_shown(value)}")
            else:
                print(f"{section}: {values}")


def _shown(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def measure(config: Config, *, repeats: int) -> dict[str, Any]:
    """Times one config's train step, sampling, input and checkpoints.

    Returns:
      `train.images_per_second`: real images through the discriminator per second of the whole
      iteration; times are medians of `repeats`, with the least and the greatest beside them.
    """
    source, config = _open(config)
    devices = mesh.Devices(config.train.parallel)
    mesh.check_split(config, devices)
    kind = jax.devices()[0].device_kind
    result: dict[str, Any] = {
        "config": config.name,
        "devices": f"{devices.count} x {kind}",
        "data": config.data.name,
        "batch_size": config.train.batch_size,
        "dtype": config.model.dtype,
    }
    steps = config.train.steps_per_dispatch if jax.default_backend() != "cpu" else 1
    gan = train_step.build(config, devices.count)
    make = functools.partial(train_step.init, gan)
    whole = devices.create(make)
    pipeline = Pipeline(config, source, devices, steps)
    batches = pipeline.batches(0)
    program = devices.compile(functools.partial(train_step.program, gan), Pipeline.BATCH_AXIS)
    result["checkpoint"] = _checkpoints(config, whole, devices, make)
    state = whole
    result["train"], state = _train(program, state, pipeline, batches, repeats)
    per_dispatch = config.train.batch_size * config.train.d_steps_per_g_step * steps
    seconds = result["train"]["seconds_median"]
    result["train"]["images_per_second"] = per_dispatch / seconds
    result["train"]["seconds_per_step"] = seconds / steps
    flops = result["train"].get("flops_per_device")
    if flops:
        result["train"]["flops_per_second_per_device"] = flops / seconds
        peak = _PEAK_FLOPS.get(kind)
        share = flops / seconds / peak if peak else f"unknown: no peak known for {kind}"
        result["train"]["share_of_peak"] = share
    input_seconds = _timed(lambda: next(batches), repeats)
    result["input"] = {"images_per_second": per_dispatch / input_seconds}
    result["sampling"] = _sampling(config, devices.local(state), repeats)
    return result


def _open(config: Config) -> tuple[Source, Config]:
    """Opens the config's data, or synthetic images where it cannot be had."""
    try:
        source = data.load(config.data, config.model.image_size)
        return source, data.resolve(config, source)
    except ConfigError as error:
        print(f"{error}; measuring with synthetic images", file=sys.stderr)
    synthetic = dataclasses.replace(config.data, name="synthetic", dir=None)
    source = data.load(synthetic, config.model.image_size)
    classes = config.model.num_classes
    model = dataclasses.replace(config.model, num_classes=4 if classes == "data" else classes)
    return source, dataclasses.replace(config, data=synthetic, model=model)


def _train(
    program: Any, state: Any, pipeline: Pipeline, batches: Any, repeats: int
) -> tuple[dict[str, Any], Any]:
    batch = next(batches)
    begin = time.perf_counter()
    compiled = program.lower(state, pipeline.data, batch).compile()
    # From the cache of compiled programs, if this one was compiled here before.
    found: dict[str, Any] = {"compile_seconds": time.perf_counter() - begin}
    cost = compiled.cost_analysis() or {}
    if "flops" in cost:
        found["flops_per_device"] = float(cost["flops"])
    memory = compiled.memory_analysis()
    if memory is not None:
        found["peak_bytes_per_device"] = int(
            memory.temp_size_in_bytes + memory.argument_size_in_bytes
        )

    def step() -> None:
        nonlocal state
        state, scalars = program(state, pipeline.data, next(batches))
        jax.block_until_ready((state, scalars))

    step()
    times = _times(step, repeats)
    found["seconds_median"] = statistics.median(times)
    found["seconds_least"], found["seconds_greatest"] = min(times), max(times)
    return found, state


def _sampling(config: Config, state: Any, repeats: int) -> dict[str, float]:
    small = dataclasses.replace(config.checkpoint, statistics_batches=1)
    config = dataclasses.replace(config, checkpoint=small)
    variables = sampler.refresh(config, state)
    z = sampler.draw_latents(0, np.arange(_SAMPLES), config.model.z_dim)
    classes = config.model.num_classes
    labels = None
    if isinstance(classes, int):
        labels = (np.arange(_SAMPLES) % classes).astype(np.int32)
    seconds = _timed(lambda: sampler.generate(config, variables, z, labels), repeats)
    return {"images_per_second": _SAMPLES / seconds}


def _features(repeats: int) -> dict[str, float | str]:
    """Times the FID Inception network; random weights, since speed does not depend on them."""
    shapes = jax.eval_shape(
        lambda: Inception(tuple(OUTPUTS)).init(jax.random.key(0), jnp.zeros((1, 299, 299, 3)))
    )["params"]
    rng = np.random.default_rng(0)
    layers = jax.tree.map(lambda x: rng.normal(0, 0.05, x.shape).astype(np.float32), shapes)
    extractor = InceptionExtractor(layers, "tf", None)
    images = rng.integers(0, 256, (_FEATURE_IMAGES, 32, 32, 3), dtype=np.uint8)
    seconds = _timed(lambda: extractor(images, ("pool",)), repeats)
    return {"network": "inception, 32 px images", "images_per_second": _FEATURE_IMAGES / seconds}


def _checkpoints(config: Config, state: Any, devices: mesh.Devices, make: Any) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), config, lambda: None)
        begin = time.perf_counter()
        checkpoints.save(1, state, {"none": jnp.zeros(1)}, {})
        blocked = time.perf_counter() - begin
        checkpoints.wait()
        saved = time.perf_counter() - begin
        begin = time.perf_counter()
        jax.block_until_ready(checkpoints.restore(1, devices.abstract(make)))
        restored = time.perf_counter() - begin
        checkpoints.close()
    return {"save_blocks_seconds": blocked, "save_seconds": saved, "restore_seconds": restored}


def _times(call: Callable[[], Any], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return times


def _timed(call: Callable[[], Any], repeats: int) -> float:
    """Calls once to warm up, then gives the median of `repeats`."""
    call()
    return statistics.median(_times(call, repeats))
