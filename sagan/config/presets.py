"""Finds a config by a preset's name or a file's path, and applies `section.field=value`."""

import ast
import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sagan.config.as_json import leaves
from sagan.config.building import replace, section_class
from sagan.config.fields import ConfigError, closest, hints, parse, require
from sagan.config.schema import Config


def preset_folder() -> Path:
    """Returns the folder of presets: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "_configs"
    return inside if inside.is_dir() else package.parent / "configs"


def preset_names() -> list[str]:
    return sorted(path.stem for path in preset_folder().glob("*.py"))


def abouts() -> dict[str, str]:
    """Returns the first line of each preset's docstring, by name; runs none of them."""
    found = {}
    for name in preset_names():
        try:
            text = ast.parse((preset_folder() / f"{name}.py").read_bytes())
            found[name] = (ast.get_docstring(text) or "").partition("\n")[0]
        except SyntaxError as error:  # told in full by those who use the preset
            found[name] = f"({error.msg})"
    return found


def preset(name: str) -> Config:
    """Returns the config of a preset. A preset may start from another one with this.

    Raises: ConfigError if there is no such preset, or its file is wrong.
    """
    path = preset_folder() / f"{name}.py"
    require(
        path.is_file(),
        f"no preset named {name!r}{closest(name, preset_names())}; "
        f"presets: {', '.join(preset_names())}; or give a path to a .py",
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
    """Applies texts like `train.batch_size=128`, each read by its field's type.

    Raises: ConfigError for an unknown key, or a value that does not fit.
    """
    top: dict[str, Any] = {}
    texts: dict[str, dict[str, str]] = {}  # section -> field -> text
    for text in overrides:
        key, equals, value = text.partition("=")
        require(bool(equals), f"{text!r} is not of the form section.field=value")
        section, _, field = key.rpartition(".")
        known = hints(Config)
        if section:
            require(dataclasses.is_dataclass(known.get(section)), _unknown(key, config))
            texts.setdefault(section, {})[field] = value
        else:
            is_field = field in known and not dataclasses.is_dataclass(known[field])
            require(is_field, _unknown(key, config))
            top[field] = parse(value, known[field], key)
    for section, given in texts.items():
        named = {"name": config.model.name} | given
        kind = section_class(section, top.get("task", config.task), named)
        top[section] = _parsed(section, given, hints(kind))
    return replace(config, **top)


def _parsed(section: str, given: dict[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    for field in given:
        if field not in known:
            key = f"{section}.{field}"
            raise ConfigError(
                f"unknown config key {key!r}{closest(field, known)}; "
                f"{section} has: {', '.join(known)}"
            )
    return {field: parse(text, known[field], f"{section}.{field}") for field, text in given.items()}


def _unknown(key: str, config: Config) -> str:
    keys = [leaf for leaf, _ in leaves(config)]
    sections = ", ".join(hints(Config))
    return f"unknown config key {key!r}{closest(key, keys)}; the top has: {sections}"
