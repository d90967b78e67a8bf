"""Dataclass fields against what was typed: parsing, checking and building by type hints.

Knows `int`, `float`, `bool`, `str`, `Literal`, `tuple[T, ...]`, unions of these and nested
dataclasses: all that a config is made of.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from sagan.config.exit_codes import BAD_INPUT, Failure


class ConfigError(Failure):
    """What a user typed cannot be done. One line says what was got, what is allowed, and where."""

    exit_code = BAD_INPUT


def require(condition: bool, message: str) -> None:
    """Raises: ConfigError with `message` unless `condition`."""
    if not condition:
        raise ConfigError(message)


def hints(section: Any) -> dict[str, Any]:
    return typing.get_type_hints(section)


def parse(text: str, hint: Any, key: str) -> Any:
    """Reads `text` as a value of type `hint`; the first alternative that fits wins."""
    for kind in _alternatives(hint):
        if kind is type(None):
            if text.lower() in ("none", "null"):
                return None
        elif kind is bool:
            if text.lower() in ("true", "false", "1", "0"):
                return text.lower() in ("true", "1")
        elif kind in (int, float):
            try:
                number = kind(text)
            except ValueError:
                continue
            if fits(number, kind):
                return number
        elif kind is str:
            return text
        elif typing.get_origin(kind) is Literal:
            if text in typing.get_args(kind):
                return text
        elif typing.get_origin(kind) is tuple:
            inner = text.strip().strip("()[]")
            items = [item.strip() for item in inner.split(",") if item.strip()]
            if text.lower() not in ("none", "null") or type(None) not in _alternatives(hint):
                items = [] if text.lower() == "none" else items
                return tuple(parse(item, typing.get_args(kind)[0], key) for item in items)
    raise ConfigError(f"{key}={text!r} is not {describe(hint)}")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def describe(hint: Any) -> str:
    words = []
    for kind in _alternatives(hint):
        if kind is type(None):
            words.append("none")
        elif typing.get_origin(kind) is Literal:
            words.append("one of " + ", ".join(map(str, typing.get_args(kind))))
        elif typing.get_origin(kind) is tuple:
            words.append(f"a comma-separated list of {typing.get_args(kind)[0].__name__}")
        else:
            words.append({int: "an int", float: "a finite float"}.get(kind, f"a {kind.__name__}"))
    return " or ".join(words)


def fits(value: Any, hint: Any) -> bool:
    for kind in _alternatives(hint):
        if typing.get_origin(kind) is Literal:
            if value in typing.get_args(kind) and isinstance(value, str):
                return True
        elif typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            if isinstance(value, tuple) and all(fits(v, item) for v in value):
                return True
        elif kind is float:
            if isinstance(value, (int, float)) and not isinstance(value, bool) and _finite(value):
                return True
        elif kind is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return True
        elif isinstance(value, kind):
            return True
    return False


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float holds
        return False


def check_types(section: Any, prefix: str) -> None:
    known = hints(type(section))
    for field in dataclasses.fields(section):
        value, hint = getattr(section, field.name), known[field.name]
        key = f"{prefix}.{field.name}" if prefix else field.name
        require(fits(value, hint), f"{key}={value!r} is not {describe(hint)}")


def build(section: Any, values: Any, where: str = "") -> Any:
    """Builds the dataclass `section` from nested mappings; absent fields take their defaults.

    Raises:
      ConfigError: a key the dataclass does not have, or a value of the wrong type.
    """
    require(isinstance(values, Mapping), f"config: {where or 'the top'} is not an object")
    known = hints(section)
    unknown = sorted(str(name) for name in set(values) - set(known))
    require(not unknown, f"config: unknown key {where}{', '.join(unknown)}")
    built = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(known[name]):
            value = build(known[name], value, f"{where}{name}.")
        elif isinstance(value, list):
            value = tuple(value)
        built[name] = value
    return section(**built)
