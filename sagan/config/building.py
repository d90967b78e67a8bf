"""Configs from nested mappings, and changed copies of configs."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sagan.config import plugins
from sagan.config.fields import build, hints, require
from sagan.config.schema import Config
from sagan.config.training import GanOptimConfig, GanTrainConfig, OptimConfig, TrainConfig

_OF_GANS = {"optim": GanOptimConfig, "train": GanTrainConfig}
_OF_ALL_TASKS = {"optim": ("OptimConfig", OptimConfig), "train": ("TrainConfig", TrainConfig)}


def make(**sections: Any) -> Config:
    """Makes a config from values by section; absent fields take their defaults.

        make(name="short", data={"name": "digits"}, model={"image_size": 8}, train={"steps": 100})

    Raises: ConfigError for an unknown section or field, or a value that does not fit.
    """
    return from_mapping(sections)


def replace(config: Config, **sections: Any) -> Config:
    """Returns a copy with other values in the given fields.

        replace(config, name="short", train={"steps": 10})

    With another `model.name` or `task`, fields that both families or tasks have keep their values,
    and the rest take the defaults of the new one.

    Raises: ConfigError for an unknown section or field, or a value that does not fit.
    """
    task = sections.get("task", config.task)
    merged = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name, given in sections.items():
        if not (dataclasses.is_dataclass(merged.get(name)) and isinstance(given, Mapping)):
            merged[name] = given
    for name, kept in merged.items():
        given = sections.get(name, {})
        if not (dataclasses.is_dataclass(kept) and isinstance(given, Mapping)):
            continue
        fields = {field.name: getattr(kept, field.name) for field in dataclasses.fields(kept)}
        if task != config.task or given.get("name") not in (None, fields.get("name")):
            known = hints(section_class(name, task, fields | dict(given)))
            fields = {field: value for field, value in fields.items() if field in known}
        merged[name] = fields | dict(given)
    return from_mapping(merged)


def from_mapping(values: Any) -> Config:
    """Makes a config from a mapping of sections, each a mapping or made already.

    Modules of tasks and networks are imported last, because that takes longer than finding any
    other mistake.

    Raises: ConfigError as `make`.
    """
    require(isinstance(values, Mapping), "config: the top is not an object")
    built = dict(values)
    task = built.get("task", "gan")
    if task != "gan":
        built = {name: {} for name in _OF_ALL_TASKS} | built
    names = [name for name, kind in hints(Config).items() if dataclasses.is_dataclass(kind)]
    slow = ["model"] if task == "gan" else [*_OF_ALL_TASKS, "model"]
    for name in sorted(names, key=slow.__contains__):
        if name in built and not _is_made(built[name]):
            kind = section_class(name, task, built[name])
            built[name] = build(kind, built[name], name)
    return build(Config, built)


def _is_made(section: Any) -> bool:
    return dataclasses.is_dataclass(section) and not isinstance(section, type)


def section_class(name: str, task: Any, values: Any) -> type:
    """Returns the class of a section of a config.

    Args:
      name: of the section, which exists.
      task: what the config trains. A task's module may define the sections `optim` and `train`, as
        the classes `OptimConfig` and `TrainConfig`.
      values: of the section; `name` among those of `model` says which networks.

    Raises: ConfigError if there is no such task, or there are no such networks.
    """
    if name == "model":
        require(isinstance(values, Mapping), "config: model is not an object")
        return model_class(values.get("name", "sagan"))
    if name not in _OF_ALL_TASKS:
        return hints(Config)[name]
    if task == "gan":
        return _OF_GANS[name]
    require(isinstance(task, str), f"task={task!r} is not a str")
    class_name, base = _OF_ALL_TASKS[name]
    return getattr(plugins.load("tasks", task, field="task"), class_name, base)


def model_class(name: Any) -> type:
    """Returns the class of the section `model` for networks called `name`.

    Raises: ConfigError if there is no such module.
    """
    require(isinstance(name, str), f"model.name={name!r} is not a str")
    return plugins.load("models", name, field="model.name").Config
