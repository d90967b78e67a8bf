"""Checks before a run: devices, data, classes, sizes, unreadable files, memory, steps per epoch."""

import math
from collections.abc import Iterator
from typing import Any

import jax

from sagan import data, tasks
from sagan.config import Config, as_json, exit_codes
from sagan.data import Source, decoded, survey, unreadable
from sagan.files import cache
from sagan.parallel.devices import Devices
from sagan.tasks import Task
from sagan.training import state
from sagan.training.prepare import require_divisible

_SHOWN_BAD = 100


def check(config: Config) -> int:
    """Prints what a run with `config` would use and need.

    Returns:
      An exit code: bad input if something would stop the run, or if more than 0.1 % of the images
      cannot be read.

    Raises: ConfigError as training would.
    """
    source = data.load(config.data, config.model.image_size)
    config = data.resolve(config, source)
    devices = Devices(config.train.parallel)
    task = tasks.build(config, devices.count)
    found = survey.survey(source)
    bad = found.bad
    allowed = unreadable.ALLOWED_SHARE * len(source)
    batch_size, batches = config.train.batch_size, task.batches_per_step
    per_step = batch_size * batches
    print(f"devices      {devices.count} x {jax.devices()[0].device_kind}")
    print(f"data         {config.data.name} {config.data.split}: {len(source):,} images")
    print(f"classes      {len(source.class_names)} in the data, {config.model.num_classes} in use")
    for line in survey.classes(source, found.labels):
        print(f"             {line}")
    for title, lines in (
        ("sizes", survey.shapes(source, found.sizes)),
        ("sheet", _write_sheet(config, source, found)),
    ):
        for number, line in enumerate(lines):
            print(f"{title if number == 0 else '':13}{line}")
    print(f"unreadable   {len(bad)}; a run replaces up to {int(allowed)}")
    for text in bad[:_SHOWN_BAD]:
        print(f"             {text}")
    if len(bad) > _SHOWN_BAD:
        print(f"             … {len(bad) - _SHOWN_BAD} more")
    print(f"batch        {batch_size} x {batches} per step")
    print(
        f"steps/epoch  {len(source) / per_step:,.1f}; the run sees each image "
        f"{config.train.steps * per_step / len(source):,.1f} times"
    )
    for line in _memory(config, task, source, devices):
        print(line)
    require_divisible(config, devices)
    return exit_codes.BAD_INPUT if len(bad) > allowed else exit_codes.DONE


def describe(config: Config) -> str:
    """Returns the config, and for each network the number and a table of its parameters.

    No array is made and no data are read. `model.num_classes` must be a number or None.

    Raises: ConfigError if the task does not exist or its sections of the config are invalid.
    """
    from clu import parameter_overview

    task = tasks.build(config)
    shapes = jax.eval_shape(lambda: state.init(task, config.seed)).task
    lines = [as_json.to_json(config)]
    for name, params in task.parameters(shapes).items():
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
        lines.append(f"{name}: {count:,} parameters")
        table = parameter_overview.get_parameter_overview(params, include_stats=False)
        lines.append(table.rpartition("\n")[0])  # its last line has the total as a float
    return "\n".join(lines)


def _write_sheet(config: Config, source: Source, found: survey.Survey) -> Iterator[str]:
    path = cache.folder() / "check" / f"{config.name}.png"
    if not found.tiles:
        return
    try:
        survey.write_sheet(path, source, found.tiles)
    except OSError as error:
        yield f"not written: {path}: {error.strerror}"
        return
    more = len(source.class_names) - survey.SHOWN_CLASSES
    yield f"{path}" + (f" (the first {survey.SHOWN_CLASSES} classes of all)" if more > 0 else "")


def _memory(config: Config, task: Task, source: Source, devices: Devices) -> Iterator[str]:
    """Estimates bytes per device: the state, the dataset if it is resident, kept activations."""
    sizes = {"state": _num_bytes(jax.eval_shape(lambda: state.init(task, config.seed)))}
    whole = decoded.num_bytes(source, config.model.image_size)
    if whole <= config.data.resident_bytes:
        sizes["data"] = whole
    local = config.train.batch_size // devices.count
    local //= getattr(config.train, "accumulate_steps", 1)
    sizes["activations"] = task.activation_bytes(max(local, 1))
    limit = (devices.describe_memory() or {}).get("bytes_limit")
    total = sum(sizes.values())
    parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in sizes.items())
    yield f"memory       about {total / 2**20:,.0f} MiB per device ({parts})"
    if limit and total > limit:
        yield (
            f"             more than the device has ({limit / 2**20:,.0f} MiB): lower "
            "train.batch_size, or raise train.accumulate_steps"
        )


def _num_bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
