"""Configs from nested mappings, and changed copies of configs."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from sagan.config import plugins
from sagan.config.fields import build, hints, require
from sagan.config.schema import Config, ModelConfig


def make(**sections: Any) -> Config:
    """Makes a config from values by section; absent fields take their defaults.

        make(name="short", data={"name": "digits"}, model={"image_size": 8}, train={"steps": 100})

    Raises: ConfigError for an unknown section or field, or a value that does not fit.
    """
    return from_mapping(sections)


def replace(config: Config, **sections: Any) -> Config:
    """Returns a copy with other values in the given fields.

        replace(config, name="short", train={"steps": 10})

    With another `model.name`, fields that both families have keep their values and the rest take
    the defaults of the new family.

    Raises: ConfigError for an unknown section or field, or a value that does not fit.
    """
    merged: dict[str, Any] = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(config)
    }
    for name, given in sections.items():
        kept = merged.get(name)
        if dataclasses.is_dataclass(kept) and isinstance(given, Mapping):
            kept = {field.name: getattr(kept, field.name) for field in dataclasses.fields(kept)}
            if name == "model" and given.get("name", config.model.name) != config.model.name:
                known = hints(model_class(given["name"]))
                kept = {field: value for field, value in kept.items() if field in known}
            given = {**kept, **given}
        merged[name] = given
    return from_mapping(merged)


def from_mapping(values: Any) -> Config:
    """Makes a config from a mapping of sections, each a mapping or made already.

    The model's module is imported last, because that takes longer than finding any other mistake.

    Raises: ConfigError as `make`.
    """
    require(isinstance(values, Mapping), "config: the top is not an object")
    built = dict(values)
    for name, section in hints(Config).items():
        if name in built and dataclasses.is_dataclass(section) and name != "model":
            built[name] = _built(cast(type, section), built[name], name)
    if "model" in built and not isinstance(built["model"], ModelConfig):
        model = built["model"]
        require(isinstance(model, Mapping), "config: model is not an object")
        built["model"] = build(model_class(model.get("name", "sagan")), model, "model")
    return build(Config, built)


def _built(section: type, value: Any, name: str) -> Any:
    return value if isinstance(value, section) else build(section, value, name)


def model_class(name: Any) -> type[ModelConfig]:
    """Returns the class of the section `model` for networks called `name`.

    Raises: ConfigError if there is no such module.
    """
    require(isinstance(name, str), f"model.name={name!r} is not a str")
    return plugins.load("models", name, field="model.name").Config
