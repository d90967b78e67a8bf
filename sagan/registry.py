"""Finds the file that a name in a config stands for.

A plain name is a file of one of our folders (`models/sagan.py` is `sagan`); a dotted name is
any importable module, so a model or dataset of yours needs no edit here.
"""

import importlib
import pkgutil
from types import ModuleType

from sagan.config import ConfigError


def names(package: str) -> list[str]:
    """Lists the public modules of `sagan.<package>`, sorted; imports none of them."""
    path = importlib.import_module(f"sagan.{package}").__path__
    return sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))


def load(package: str, name: str, *, field: str) -> ModuleType:
    """Imports what `name` stands for in `sagan.<package>`.

    Args:
      package: `models`, `data` or `metrics`.
      name: a file's name there, or the dotted name of a module outside.
      field: the config key that held the name, for the error.

    Raises:
      ConfigError: no such file or module.
    """
    if name in names(package):
        return importlib.import_module(f"sagan.{package}.{name}")
    if "." in name:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(f"{field}={name!r}: cannot import that module ({error})") from error
    known = ", ".join(names(package))
    raise ConfigError(f"{field}={name!r} is unknown; known: {known}, or a dotted module name")
