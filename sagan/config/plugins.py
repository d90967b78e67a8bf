"""Finds the file that a name in a config stands for.

A name is a file of one of our folders (`models/sagan.py` is `sagan`), or else any module that can
be imported, so a model or dataset of yours needs no edit here.
"""

import importlib
import importlib.util
import pkgutil
from types import ModuleType

from sagan.config import ConfigError

_FOLDERS = {
    "models": "sagan.models",
    "data": "sagan.data.sources",
    "features": "sagan.evaluation.features",
    "metrics": "sagan.evaluation.metrics",
    "tasks": "sagan.tasks",
}
_MUST_DEFINE = {"models": ("build", "check"), "data": ("load",), "features": ("load",)}


def names(package: str) -> list[str]:
    """Lists the public modules of `sagan.<package>`, sorted; imports none of them."""
    path = importlib.import_module(_FOLDERS[package]).__path__
    found = pkgutil.iter_modules(path)
    return sorted(
        m.name for m in found if m.ispkg == (package == "tasks") and not m.name.startswith("_")
    )


def load(package: str, name: str, *, field: str) -> ModuleType:
    """Imports what `name` stands for in `sagan.<package>`.

    Args:
      package: `models`, `data`, `features` or `metrics`.
      name: a file's name there, or the name of a module outside.
      field: the config key that held the name, for the error.

    Raises:
      ConfigError: no such file or module, or not one of this kind.
    """
    if name in names(package):
        return importlib.import_module(f"{_FOLDERS[package]}.{name}")
    try:
        found = importlib.util.find_spec(name) is not None
        module = importlib.import_module(name) if found else None
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{field}={name!r}: cannot import that module ({error})") from error
    if module is None:
        known = ", ".join(names(package))
        raise ConfigError(f"{field}={name!r} is unknown; known: {known}, or a module of yours")
    absent = [f for f in _MUST_DEFINE.get(package, ()) if not hasattr(module, f)]
    if absent:
        raise ConfigError(f"{field}={name!r}: module {name} does not define {', '.join(absent)}")
    return module


def row(table, name, *, field, needs):
    if name in table:
        return table[name]
    module, colon, attribute = name.partition(":")
    if colon:
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"{field}={name!r}: {error}") from error
        absent = [part for part in needs if not callable(getattr(found, part, None))]
        if not absent:
            return found
        raise ConfigError(f"{field}={name!r}: {found!r} has no {', '.join(absent)}")
    raise ConfigError(f"{field}={name!r} is unknown; known: {', '.join(table)}, or module:name")
