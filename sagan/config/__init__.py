"""What a run is: the schema, presets, text and JSON forms, and plug-ins found by name.

Nothing in this folder imports jax, so a mistyped field is reported before anything slow starts.
"""

from sagan.config.fields import ConfigError
from sagan.config.schema import (
    CheckpointConfig,
    Config,
    DataConfig,
    EvalConfig,
    GuardConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    SampleConfig,
    TrainConfig,
)

__all__ = [
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "EvalConfig",
    "GuardConfig",
    "LogConfig",
    "ModelConfig",
    "OptimConfig",
    "SampleConfig",
    "TrainConfig",
]


def replace(config, **sections):
    import dataclasses

    for name, fields in sections.items():
        section = dataclasses.replace(getattr(config, name), **fields)
        config = dataclasses.replace(config, **{name: section})
    return config
