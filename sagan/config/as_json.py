"""A config as JSON and as a flat list of fields, and which fields make it another run."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from sagan.config import Config, ConfigError
from sagan.config.fields import build

# A run may be continued with other values of these; all other fields are what the run is.
_MAY_CHANGE = {
    "name",
    "data.dir",
    "data.resident_bytes",
    "data.workers",
    "train.steps",
    "train.parallel",
    "train.steps_per_dispatch",
}
_MAY_CHANGE_SECTIONS = {"log", "sample", "checkpoint", "eval", "guard"}


def differences(saved: Config, given: Config) -> list[str]:
    """Lists, as `key: saved -> given`, the fields that make `given` another run than `saved`."""
    old, new = dict(leaves(saved)), dict(leaves(given))
    return [
        f"{key}: {old[key]!r} -> {new[key]!r}"
        for key in old
        if old[key] != new[key]
        and key not in _MAY_CHANGE
        and key.split(".")[0] not in _MAY_CHANGE_SECTIONS
    ]


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def to_json(config: Config) -> str:
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str) -> Config:
    """Raises: ConfigError if `text` is no JSON or no config."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config is not JSON: {error}") from error
    return build(Config, data)
