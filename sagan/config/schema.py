"""The sections of a config: frozen dataclasses whose hints hold the limits of every field.

The comment above each field says what it means; docs/configs.md is made from those comments. The
section `model` belongs to the family of networks that `model.name` names (see `ModelConfig`), and
`optim` and `train` belong to the task: those of GANs are in `training.py`.
Nothing here imports jax, so a mistyped key is reported before anything slow starts.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from sagan.config import plugins
from sagan.config.fields import (
    Count,
    CountOrZero,
    Limits,
    NotNegative,
    check,
    require,
)
from sagan.config.training import GanOptimConfig, GanTrainConfig, OptimConfig, TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where real images come from and how they are varied."""

    # A file of sagan/data/sources (digits, folder, synthetic), tfds/NAME for a dataset of
    # tensorflow-datasets, or the name of a module of yours.
    name: str = "digits"
    # Folder or zip of the images, or the data_dir of tensorflow-datasets.
    dir: str | None = None
    # Which part of the dataset to train on.
    split: str = "train"
    # How images become square: their central square (crop), black bars (pad), or other
    # proportions (stretch).
    fit: Literal["crop", "pad", "stretch"] = "crop"
    # Mirror each image left to right with probability 1/2.
    flip: bool = False
    # Move each image by a random number of pixels, up to this many, repeating its edges.
    shift_px: CountOrZero = 0
    # Words that occur less often in the training captions are unknown.
    min_word_count: Count = 5
    # Captions are cut after this many words.
    max_words: Count = 30
    # Datasets of up to this many bytes are kept in the memory of the device.
    resident_bytes: int = 4 << 30
    # Processes that decode images of larger datasets.
    workers: CountOrZero = 4

    def __post_init__(self) -> None:
        check(self, "data")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What every family of networks has. A family's own `Config` adds its fields to these."""

    # A file of sagan/models, or the name of a module of yours.
    name: str = "sagan"
    # Height and width of the images in pixels.
    image_size: Count = 32
    # Number of classes. "data": as many as the dataset; none: without classes.
    num_classes: Count | Literal["data"] | None = "data"
    # Type of the activations. Parameters are always float32.
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check(self, "model")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogConfig:
    """How often scalars are written, and which."""

    # Steps between two lines of scalars.
    every_steps: Count = 100
    # Weights whose largest singular value is written, as PLAYER/LAYER.
    sigma: tuple[str, ...] = ("g/linear", "g/attention", "g/output", "d/attention", "d/head")
    # Where scalars and sheets of samples are shown beside the work directory: rows of
    # sagan.runs.trackers.TRACKERS, which are tensorboard, wandb and trackio.
    trackers: tuple[str, ...] = ("tensorboard",)

    def __post_init__(self) -> None:
        check(self, "log")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Sheets of samples that are drawn while training, always from the same latents."""

    # Steps between two sheets; 0: none.
    every_steps: CountOrZero = 1000
    # Columns of the sheet. Each class has one row, up to 16 rows.
    num_per_class: Count = 8

    def __post_init__(self) -> None:
        check(self, "sample")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """How often the state is saved, what is kept, and what is prepared for sampling."""

    # Steps between two checkpoints.
    every_steps: Count = 1000
    # How many of the newest checkpoints are kept. The best by eval.best_metric is always kept.
    keep: Count = 2
    # Checkpoints at multiples of this number of steps are kept for ever.
    keep_every_steps: Count | None = None
    # Batches over which batch norm's statistics are computed for the averaged weights. 0: the
    # running averages of the weights in training are taken, or those that were imported.
    statistics_batches: CountOrZero = 32

    def __post_init__(self) -> None:
        check(self, "checkpoint")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Scores computed during training and at its end, and by `sagan eval` unless told otherwise."""

    # Steps between two scores; 0: none while training.
    every_steps: CountOrZero = 0
    # Compute scores at the end of the training.
    at_end: bool = False
    # Names of the scores: files of sagan/evaluation/metrics, or modules of yours.
    metrics: tuple[str, ...] = ("fid", "is")
    # The network whose features are compared: a file of sagan/evaluation/features, or a module.
    features: str = "inception"
    # Number of generated images.
    num_images: Count = 50_000
    # Images per batch of the feature network.
    batch_size: Count = 64
    # The checkpoint with the best value of this score is kept.
    best_metric: str = "fid"

    def __post_init__(self) -> None:
        check(self, "eval")
        known = self.best_metric in self.metrics or any("." in name for name in self.metrics)
        require(
            not self.every_steps or known,
            f"eval.best_metric={self.best_metric!r} is not among those measured every "
            f"{self.every_steps} steps; allowed: {', '.join(self.metrics)}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """What happens when a training hangs, diverges or collapses, or another process owns it."""

    # Seconds without a step after which all stacks are written and the process ends; 0: never.
    watchdog_seconds: CountOrZero = 900
    # A lock on the work directory that was not renewed for this many seconds may be taken over.
    lock_seconds: Count = 120
    # Number of steps with NaN or infinite numbers that are skipped before the run gives up.
    skip_steps: CountOrZero = 20
    # Resume although images were added, removed or replaced since the last checkpoint. The run then
    # continues otherwise than it would have on the same images.
    images_may_change: bool = False
    # Save and end the run when its samples have collapsed.
    stop_on_collapse: bool = False
    # Alarm below this mean pairwise distance of samples, as a multiple of that of real images.
    min_diversity: NotNegative = 0.1
    # Alarm above this mean logit of real images minus that of samples.
    max_margin: NotNegative = 50.0

    def __post_init__(self) -> None:
        check(self, "guard")


def _default_model() -> ModelConfig:
    return plugins.load("models", "sagan", field="model.name").Config()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One run."""

    # Name of the run, and of its folder in runs/.
    name: str = "digits"
    # Seed of every random draw.
    seed: Annotated[int, Limits(at_least=0, below=2**32)] = 0
    # What is learned: a folder of sagan/tasks, or the name of a module of yours.
    task: str = "gan"
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=_default_model)
    optim: OptimConfig = dataclasses.field(default_factory=GanOptimConfig)
    train: TrainConfig = dataclasses.field(default_factory=GanTrainConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)
    sample: SampleConfig = dataclasses.field(default_factory=SampleConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    guard: GuardConfig = dataclasses.field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        check(self, "")
        require(
            self.name == Path(self.name).name
            and self.name not in ("", ".", "..")
            and self.name.isprintable(),
            f"name={self.name!r}; allowed: a plain folder name",
        )
