"""What a run is: its config, presets, texts and JSON, and plug-ins found by name.

Importing this folder imports no jax. Making a config imports the module of its networks, which
does.
"""

from sagan.config.building import make, replace
from sagan.config.fields import ConfigError
from sagan.config.presets import preset
from sagan.config.schema import (
    CheckpointConfig,
    Config,
    DataConfig,
    EvalConfig,
    GuardConfig,
    LogConfig,
    ModelConfig,
    SampleConfig,
)
from sagan.config.training import GanOptimConfig, GanTrainConfig, OptimConfig, TrainConfig

__all__ = [
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "EvalConfig",
    "GanOptimConfig",
    "GanTrainConfig",
    "GuardConfig",
    "LogConfig",
    "ModelConfig",
    "OptimConfig",
    "SampleConfig",
    "TrainConfig",
    "make",
    "preset",
    "replace",
]
