"""A look before the leap: devices, data, classes, unreadable files, memory, steps per epoch."""

import dataclasses
import json
import math
import sys
from typing import Any

import jax
import numpy as np

from sagan import data
from sagan.config import Config, ConfigError
from sagan.data import Source, decoded, unreadable
from sagan.files.progress import Progress
from sagan.parallel.devices import Devices, check_split
from sagan.tasks.gan import step as train_step

_BAR = 30  # characters of the longest bar
_SHOWN_CLASSES = 20
_SHOWN_BAD = 100


def run(config: Config) -> int:
    """Prints what a run with `config` would meet.

    Returns:
      0, or 2 if something would stop the run or more than 0.1 % of the images cannot be read.

    Raises: ConfigError as training would.
    """
    source = data.load(config.data, config.model.image_size)
    config = data.resolve(config, source)
    bad, labels = _read_all(source)
    allowed = unreadable.ALLOWED_SHARE * len(source)
    devices = Devices(config.train.parallel)
    per_step = config.train.batch_size * config.train.d_steps_per_g_step
    print(f"devices      {devices.count} x {jax.devices()[0].device_kind}")
    print(f"data         {config.data.name} {config.data.split}: {len(source):,} images")
    print(f"classes      {len(source.class_names)} in the data, {config.model.num_classes} in use")
    print(_histogram(source, labels))
    print(f"unreadable   {len(bad)}; a run passes over up to {int(allowed)}")
    for text in bad[:_SHOWN_BAD]:
        print(f"             {text}")
    if len(bad) > _SHOWN_BAD:
        print(f"             … {len(bad) - _SHOWN_BAD} more")
    print(f"batch        {config.train.batch_size} x {config.train.d_steps_per_g_step} per step")
    print(
        f"steps/epoch  {len(source) / per_step:,.1f}; the run sees each image "
        f"{config.train.steps * per_step / len(source):,.1f} times"
    )
    for line in _memory(config, source, devices):
        print(line)
    check_split(
        devices.count,
        batch_size=config.train.batch_size,
        accumulate_steps=config.train.accumulate_steps,
        batch_norm_group=config.model.batch_norm_group,
    )
    return 2 if len(bad) > allowed else 0


def describe(config: Config) -> str:
    """Writes the resolved config and the parameter counts; needs no device memory."""
    from clu import parameter_overview

    gan = train_step.build(config, 1)
    state = jax.eval_shape(lambda: train_step.init(gan))
    lines = [json.dumps(dataclasses.asdict(config), indent=2)]
    for name, player in (("generator", state.g), ("discriminator", state.d)):
        count = parameter_overview.count_parameters(dict(player.params))
        lines.append(f"{name}: {count:,} parameters")
    return "\n".join(lines)


def _read_all(source: Source) -> tuple[list[str], np.ndarray]:
    """Reads every image once; gives the errors, and the labels of the others."""
    bad, labels = [], []
    progress = Progress("reading", len(source))
    for index in range(len(source)):
        try:
            labels.append(source[index]["label"])
        except ConfigError as error:
            bad.append(str(error))
        progress.update(index + 1)
    progress.close()
    sys.stderr.flush()
    decoded.check_labels(source, np.array(labels))
    return bad, np.array(labels, np.int64)


def _histogram(source: Source, labels: np.ndarray) -> str:
    counts = np.bincount(labels, minlength=len(source.class_names))
    width = max(len(name) for name in source.class_names[:_SHOWN_CLASSES])
    most = max(counts.max(), 1)  # 0 if no image can be read
    lines = [
        f"             {name:{width}}  {count:8,}  {'#' * math.ceil(_BAR * count / most)}"
        for name, count in list(zip(source.class_names, counts, strict=True))[:_SHOWN_CLASSES]
    ]
    if len(counts) > _SHOWN_CLASSES:
        rest = counts[_SHOWN_CLASSES:]
        lines.append(f"             … {len(rest)} more: {rest.min():,} to {rest.max():,} each")
    if np.any(counts == 0):
        empty = np.array(source.class_names)[counts == 0]
        lines.append(f"             without images: {', '.join(empty[:5])}")
    return "\n".join(lines)


def _memory(config: Config, source: Source, devices: Devices) -> list[str]:
    """Estimates bytes per device: the state, the set if it is resident, kept activations."""
    gan = train_step.build(config, devices.count)
    state = jax.eval_shape(lambda: train_step.init(gan))
    sizes = {"state": _num_bytes(state)}
    whole = decoded.num_bytes(source, config.model.image_size)
    if whole <= config.data.resident_bytes:
        sizes["data"] = whole
    # What the generator's update keeps for its gradient: both networks' intermediate values.
    local = max(config.train.batch_size // devices.count // config.train.accumulate_steps, 1)
    sizes["activations"] = _activation_bytes(gan, state, local)
    limit = (devices.describe_memory() or {}).get("bytes_limit")
    total = sum(sizes.values())
    parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in sizes.items())
    lines = [f"memory       about {total / 2**20:,.0f} MiB per device ({parts})"]
    if limit and total > limit:
        lines.append(
            f"             more than the device has ({limit / 2**20:,.0f} MiB): lower "
            "train.batch_size, or raise train.accumulate_steps"
        )
    return lines


def _num_bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _activation_bytes(gan: train_step.Gan, state: train_step.TrainState, batch: int) -> int:
    """Adds up every intermediate array of one forward pass through both networks."""
    model = gan.config.model
    z = jax.ShapeDtypeStruct((batch, model.z_dim), "float32")
    label = None if model.num_classes is None else jax.ShapeDtypeStruct((batch,), "int32")

    def forward(g: Any, d: Any, z: jax.Array, label: jax.Array | None) -> jax.Array:
        stats = state.g.stats["batch_stats"]
        zeros = jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), stats)
        image = gan.generator.apply({"params": g, "batch_stats": zeros}, z, label, train=False)
        return gan.discriminator.apply({"params": d}, image, label, train=False)  # type: ignore

    jaxpr = jax.make_jaxpr(forward)(state.g.params, state.d.params, z, label)
    return sum(
        math.prod(v.aval.shape) * v.aval.dtype.itemsize
        for equation in jaxpr.eqns
        for v in equation.outvars
        if equation.primitive.name in ("conv_general_dilated", "dot_general", "max", "add", "mul")
    )
