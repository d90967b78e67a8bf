"""The training step of a config, traced for hardware that need not be there."""

import dataclasses
import functools
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sagan import data, tasks
from sagan.config import Config
from sagan.data import Source
from sagan.data.pipeline import Feed, Pipeline
from sagan.launch.cost import Machine, predict
from sagan.parallel import flops, platform
from sagan.parallel.devices import AXIS, Devices
from sagan.parallel.platform import Platform
from sagan.training import dispatch, state
from sagan.training.prepare import decoder_of, require_divisible

_NUM_CLASSES = 1000  # where only the dataset, which is not here, would tell the number of classes
_ALWAYS_HERE = ("synthetic", "digits", "scenes")

# What predictions count: the step of a GPU, since its use of the peak has been measured on one.
_COUNTED = Platform("gpu", "NVIDIA H200", "9.0")


class Step(NamedTuple):
    """One traced training step: updates of all networks.

    Attributes:
      config: with the source's classes.
      traced: what `jax.jit(…).trace` returns.
      devices: that it is mapped over.
      num_images: real images that it sees.
    """

    config: Config
    traced: Any
    devices: Devices
    num_images: int


def trace(config: Config, absent: list[Any], hardware: Platform) -> Step:
    """Traces a config's training step for some devices, whose kind is `hardware`.

    Datasets are not opened: only shapes matter.

    Raises: ConfigError for a config that cannot be trained on so many devices.
    """
    source, config = _without_data(config)
    with platform.assume(hardware):
        devices = Devices("shard_map", absent)
        require_divisible(config, devices)
        task = tasks.build(config, devices.count)
        # Only the shapes of what a pipeline feeds are used, so one device of this machine will do.
        feed = Feed.of(config, task.batches_per_step)
        pipeline = Pipeline(feed, source, Devices(devices=jax.local_devices()[:1]))
        mesh = Mesh(np.array(absent), (AXIS,), axis_types=(AxisType.Auto,))

        def shapes(tree: Any, spec: PartitionSpec) -> Any:
            place = NamedSharding(mesh, spec)
            return jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree
            )

        program = devices.compile(dispatch.bind(task, decoder_of(config)), Pipeline.BATCH_AXIS)
        traced = program.trace(
            devices.abstract(functools.partial(state.init, task, config.seed)),
            shapes(pipeline.data, PartitionSpec()),
            shapes(pipeline.abstract(1), PartitionSpec(*[None] * Pipeline.BATCH_AXIS, AXIS)),
        )
    return Step(config, traced, devices, config.train.batch_size * task.batches_per_step)


def _without_data(config: Config) -> tuple[Source, Config]:
    if config.data.name in _ALWAYS_HERE:
        source = data.load(config.data, config.model.image_size)
        return source, data.resolve(config, source)
    classes = config.model.num_classes
    if classes == "data":
        classes = _NUM_CLASSES
        print(f"sagan: model.num_classes=data: counting with {classes}", file=sys.stderr)
    synthetic = dataclasses.replace(config.data, name="synthetic", dir=None)
    model = dataclasses.replace(config.model, num_classes=classes)
    config = dataclasses.replace(config, data=synthetic, model=model)
    source = data.load(config.data, config.model.image_size)
    tasks.check(config)
    return source, config


def predictions(config: Config, machines: list[Machine]) -> list[dict[str, Any]]:
    """Predicts a config's training step on machines, by the model of `sagan/launch/cost.py`.

    Returns: for each machine, what its step takes and its efficiency with the config's batch.

    Raises: ConfigError as `trace`.
    """
    products, sums, images = _counted(config)
    rows = []
    for machine in machines:
        found = predict(machine, flops=products, messages=sums)
        rows.append(
            {
                "machine": machine.name,
                "chips": machine.devices,
                "batch": config.train.batch_size,
                "step ms": float(f"{1e3 * found.seconds:.3g}"),
                "communication ms": float(f"{1e3 * found.communication:.3g}"),
                "real images/s": round(images / found.seconds),
                "efficiency": f"{found.efficiency:.0%}",
            }
        )
    return rows


@functools.lru_cache
def _counted(config: Config) -> tuple[float, list[int], int]:
    """Returns the FLOPs of a step over all devices, the bytes of its messages, and its images."""
    step = trace(config, jax.local_devices()[:1], _COUNTED)
    jaxpr = step.traced.jaxpr
    return flops.matmuls(jaxpr), flops.messages(jaxpr), step.num_images
