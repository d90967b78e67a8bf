"""Finds the module or object that a name in a config stands for.

A name is a file of one of our folders (`sagan` is `models/sagan.py`) or any module that can be
imported, so your own model or dataset needs no change here.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TypeVar

from sagan.config.fields import ConfigError, closest

_FOLDERS = {
    "tasks": "sagan.tasks",
    "models": "sagan.models",
    "data": "sagan.data.sources",
    "features": "sagan.evaluation.features",
    "encoders": "sagan.tasks.captioning.encoders",
    "metrics": "sagan.evaluation.metrics",
}
_MUST_DEFINE = {
    "tasks": ("build", "check"),
    "models": ("Config", "build", "check"),
    "data": ("load",),
    "features": ("load",),
    "encoders": ("grid", "init", "load", "annotate"),
}
Row = TypeVar("Row")


def names(kind: str) -> list[str]:
    """Returns the names of a kind, sorted. Each is a public module of the kind's folder.

    A task is a folder, all others are files. None of the modules is imported.
    """
    spec = importlib.util.find_spec(_FOLDERS[kind])
    assert spec and spec.submodule_search_locations
    found = pkgutil.iter_modules(spec.submodule_search_locations)
    return sorted(
        m.name for m in found if not m.name.startswith("_") and m.ispkg == (kind == "tasks")
    )


def load(kind: str, name: str, *, field: str) -> ModuleType:
    """Imports the module that `name` stands for.

    Args:
      kind: `tasks`, `models`, `data`, `features`, `encoders` or `metrics`.
      name: a file of that kind's folder, or the name of a module elsewhere.
      field: the config key that held the name, for the error.

    Raises:
      ConfigError: there is no such file or module, it cannot be imported, or it does not define
        what its kind must.
    """
    if name in names(kind):
        return importlib.import_module(f"{_FOLDERS[kind]}.{name}")
    try:
        found = importlib.util.find_spec(name) is not None
        module = importlib.import_module(name) if found else None
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{field}={name!r}: cannot import that module ({error})") from error
    if module is None:
        known = names(kind)
        raise ConfigError(
            f"{field}={name!r} is unknown{closest(name, known)}; "
            f"known: {', '.join(known)}, or the name of a module of yours"
        )
    absent = [f for f in _MUST_DEFINE.get(kind, ()) if not hasattr(module, f)]
    if absent:
        raise ConfigError(f"{field}={name!r}: module {name} does not define {', '.join(absent)}")
    return module


def row(table: Mapping[str, Row], name: str, *, field: str, needs: Sequence[str]) -> Row:
    """Returns the row of a table that `name` stands for, or imports `module:name`.

    Args:
      field: the config key that held the name, for the error.
      needs: attributes that an imported object must have as functions.

    Raises:
      ConfigError: there is no such row, the object cannot be imported, or it lacks a function.
    """
    if name in table:
        return table[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigError(
            f"{field}={name!r} is unknown{closest(name, table)}; "
            f"known: {', '.join(table)}, or module:name"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{field}={name!r}: {error}") from error
    absent = [need for need in needs if not callable(getattr(found, need, None))]
    if absent:
        raise ConfigError(f"{field}={name!r}: {found!r} has no function {', '.join(absent)}")
    return found
