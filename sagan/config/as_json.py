"""A config as JSON and as a flat list of fields, and which fields make a run another run."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from sagan.config.building import from_mapping
from sagan.config.fields import ConfigError, fits, require
from sagan.config.schema import Config
from sagan.config.training import GanOptimConfig, GanTrainConfig

# A run may be continued with other values of these; all other fields say which run it is.
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
    """Lists, as `key: saved -> given`, the fields that make `given` another run than `saved`.

    A field that only one of the two families of networks has is shown as `absent` in the other.
    """
    old, new = identity(saved), identity(given)
    found = []
    for key in old | new:
        before, after = (repr(flat[key]) if key in flat else "absent" for flat in (old, new))
        if before != after and (key not in old or key not in new or old[key] != new[key]):
            found.append(f"{key}: {before} -> {after}")
    return found


def identity(config: Config) -> dict[str, Any]:
    """Returns the fields that say which run a config describes, by dotted key."""
    return {
        key: value
        for key, value in leaves(config)
        if key not in _MAY_CHANGE and key.split(".")[0] not in _MAY_CHANGE_SECTIONS
    }


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every setting as a pair (dotted key, value), such as ("train.steps", 1500)."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def to_json(config: Config) -> str:
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str) -> Config:
    """Reads a config, also one that an earlier version wrote.

    Raises: ConfigError if `text` is no JSON or no config.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config is not JSON: {error}") from error
    return from_mapping(_upgraded(data))


def _upgraded(data: Any) -> Any:
    """Rewrites fields that version 0.1.0 had: one penalty with a weight, and linear decay."""
    if not isinstance(data, Mapping):
        return data
    data = dict(data)
    train, optim = data.get("train"), data.get("optim")
    if isinstance(train, Mapping) and "penalty" in train:
        train = dict(train)
        name, weight = train.pop("penalty"), train.pop("penalty_weight", 10.0)
        train["penalties"] = [] if name == "none" else [f"{name}={weight}"]
        data["train"] = train
    if isinstance(optim, Mapping) and "linear_decay_steps" in optim:
        optim = dict(optim)
        steps = optim.pop("linear_decay_steps")
        if steps is not None:
            given = train if isinstance(train, Mapping) else {}
            fields = ("batch_size", "d_steps_per_g_step")
            usual = (given.get(field, getattr(GanTrainConfig, field)) for field in fields)
            factors = [steps, *usual]
            require(all(fits(x, int) for x in factors), f"optim.linear_decay_steps={steps!r}")
            images = math.prod(factors)
            for field in ("g_learning_rate", "d_learning_rate"):
                rate = optim.get(field, getattr(GanOptimConfig, field))
                optim[field] = f"linear:{rate}:0:{images}"
        data["optim"] = optim
    return data
