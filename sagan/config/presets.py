"""Finds a config by a preset's name or a file's path, and applies `section.field=value`."""

import dataclasses
import difflib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan.config import Config, ConfigError
from sagan.config.as_json import leaves
from sagan.config.fields import build, hints, parse, require


def preset_folder() -> Path:
    """The folder of presets: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "_configs"
    return inside if inside.is_dir() else package.parent / "configs"


def preset_names() -> list[str]:
    return sorted(path.stem for path in preset_folder().glob("*.py"))


def preset(name: str) -> Config:
    """Runs one preset file and returns its config; presets use it to start from a sibling."""
    path = preset_folder() / f"{name}.py"
    require(
        path.is_file(),
        f"no preset named {name!r}; presets: {', '.join(preset_names())}; or give a path to a .py",
    )
    return _run_file(path)


def _run_file(path: Path) -> Config:
    spec = importlib.util.spec_from_file_location(f"sagan_config_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error
    require(isinstance(config, Config), f"{path}: get_config() must return a sagan.config.Config")
    return config


def load(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """Loads a preset by name, or a `.py` file by path, and applies `section.field=value` texts.

    Raises:
      ConfigError: no such preset or file, unknown key, wrong type, or values that do not fit.
    """
    if name_or_path.endswith(".py"):
        path = Path(name_or_path)
        require(path.is_file(), f"config file {name_or_path} does not exist")
        config = _run_file(path)
    else:
        config = preset(name_or_path)
    return override(config, overrides)


def override(config: Config, overrides: Sequence[str]) -> Config:
    """Applies texts like `train.batch_size=128`, each checked against its field's type."""
    data = dataclasses.asdict(config)
    for text in overrides:
        key, equals, value = text.partition("=")
        require(bool(equals), f"{text!r} is not of the form section.field=value")
        section_name, _, field_name = key.rpartition(".")
        section, target = Config, data
        for part in section_name.split(".") if section_name else ():
            section = hints(section).get(part)
            if not dataclasses.is_dataclass(section):
                raise ConfigError(_unknown(key, Config))
            target = target[part]
        known = hints(section)
        if field_name not in known or dataclasses.is_dataclass(known[field_name]):
            raise ConfigError(_unknown(key, section))
        target[field_name] = parse(value, known[field_name], key)
    return build(Config, data)


def _unknown(key: str, section: Any) -> str:
    if section is Config:
        everything = [leaf for leaf, _ in leaves(Config())]
        near = difflib.get_close_matches(key, everything, n=3) or list(hints(Config))
        return f"unknown config key {key!r}; did you mean: {', '.join(near)}"
    return f"unknown config key {key!r}; {section.__name__} has: {', '.join(hints(section))}"
