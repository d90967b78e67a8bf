"""Opens files of weights: torch's two layouts, safetensors, and the settings beside them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.files import places, torch_file


class File(NamedTuple):
    """What is in a file.

    Attributes:
      arrays: of a network, by key, in the order of the file; empty if it holds none.
      others: everything else at the top, such as settings, or the state of an optimizer.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    others: Mapping[str, Any]


def read(path: Path) -> File:
    """Opens a file. Nothing in it is executed.

    Raises: ConfigError if it is not there, is damaged, or is of no known kind.
    """
    path = places.local(path)
    require(path.is_file(), f"{path}: no such file")
    if path.suffix == ".json":
        return File(path, {}, _json(path))
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:9] == b"{":  # a header of JSON behind its length
        return File(path, _safetensors(path), {})
    tree = torch_file.load(path)
    arrays = torch_file.state_dict(tree, path)
    if arrays and all(key.startswith("module.") for key in arrays):
        arrays = {key.removeprefix("module."): array for key, array in arrays.items()}
    others = {key: x for key, x in tree.items() if key not in arrays and key != "state_dict"}
    return File(path, arrays, others)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    require(isinstance(found, dict), f"{path} holds no settings by name")
    return found


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: damaged or truncated: {error}") from error
