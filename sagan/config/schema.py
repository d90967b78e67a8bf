"""The sections of a config: frozen dataclasses whose hints hold the limits of every field.

The comment above each field says what it means; docs/configs.md is made from those comments. The
section `model` belongs to the family of networks that `model.name` names (see `ModelConfig`), and
`optim` and `train` belong to the task: those of GANs are here, since GANs are the default.
Nothing here imports jax, so a mistyped key is reported before anything slow starts.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from sagan.config import plugins, schedules
from sagan.config.fields import (
    Count,
    CountOrZero,
    Fraction,
    Limits,
    NotNegative,
    Positive,
    check,
    require,
)
from sagan.config.schedules import FractionSchedule, NotNegativeSchedule, Schedule


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
class OptimConfig:
    """What every task's optimizer has: Adam. A task's own section adds its fields to these."""

    # Decay of Adam's average of gradients.
    beta1: Fraction = 0.9
    # Decay of Adam's average of squared gradients.
    beta2: FractionSchedule = 0.999
    # Added to the root of the squared gradients, so that it is never zero.
    epsilon: Positive = 1e-8

    def __post_init__(self) -> None:
        check(self, "optim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanOptimConfig(OptimConfig):
    """Adam for each network, and the moving average of the generator's weights."""

    # Learning rate of the generator.
    g_learning_rate: NotNegativeSchedule = 1e-4
    # Learning rate of the discriminator.
    d_learning_rate: NotNegativeSchedule = 4e-4
    # Decay of Adam's average of gradients.
    beta1: Fraction = 0.0
    # Decay of Adam's average of squared gradients.
    beta2: FractionSchedule = 0.9
    # Decay per step of the averaged weights; 0: they are the current weights.
    ema_decay: FractionSchedule = 0.9999
    # Until this step the averaged weights are the current weights.
    ema_start_step: int = 1000
    # Half-life of the average in real images that the discriminator sees, in place of ema_decay;
    # none: ema_decay holds.
    ema_half_life: NotNegativeSchedule | None = None
    # The half-life is at most this multiple of the images seen so far, so that the first weights
    # are soon forgotten; none: no limit.
    ema_warm_up: Positive | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long to train, and on how much data per step. A task's own section adds its fields."""

    # Number of training steps; a GAN updates its generator once per step.
    steps: Count = 100_000
    # Images in each update of the weights, over all devices together.
    batch_size: Count = 64
    # How the step is mapped over devices; both give the same bits.
    parallel: Literal["shard_map", "pmap"] = "shard_map"
    # Steps in one call of an accelerator; a CPU always takes one.
    steps_per_dispatch: Count = 1

    def __post_init__(self) -> None:
        check(self, "train")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanTrainConfig(TrainConfig):
    """How long to train, on how much data per step, and against which loss."""

    # Updates of the discriminator in each step.
    d_steps_per_g_step: Count = 1
    # Number of equal parts that a batch is processed in, to save memory.
    accumulate_steps: Count = 1
    # A row of sagan.tasks.gan.losses.LOSSES, or module:name.
    loss: str = "hinge"
    # Gradient penalties, each NAME=WEIGHT or NAME=WEIGHT@N. NAME is a row of
    # sagan.tasks.gan.penalties.PENALTIES, or module:name; WEIGHT is a number >= 0 or a schedule.
    # With @N it is computed every N updates of the discriminator only, with N times the weight.
    penalties: tuple[str, ...] = ()
    # Other terms of the losses, each NAME=WEIGHT. NAME is a row of
    # sagan.tasks.gan.regularisers.REGULARISERS, or module:name.
    regularisers: tuple[str, ...] = ()
    # Weight of the loss of model.d_conditioning; none: the published one.
    conditioning_weight: NotNegativeSchedule | None = None
    # Temperature of "contrastive" and "d2d_ce"; none: the published one.
    conditioning_temperature: Positive | None = None
    # Weight of orthogonal regularisation of the generator's and the discriminator's kernels.
    g_orthogonal: NotNegative = 0.0
    d_orthogonal: NotNegative = 0.0
    # What is done, in this order, to every image that the discriminator sees, real or generated;
    # rows of sagan.tasks.gan.augmentation.AUGMENTATIONS, or module:name.
    augment: tuple[str, ...] = ()
    # Probability of each augmentation, or of each of its operations: a number or a schedule from 0
    # to 1; or "adaptive", as in ADA.
    augment_p: float | str = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("penalties", "regularisers"):
            for text in getattr(self, field):
                term(text, field)
        names = [term(text, "regularisers").name for text in self.regularisers]
        require(len(set(names)) == len(names), "train.regularisers: a name is given twice")
        if self.augment_p != "adaptive":
            key = "train.augment_p"
            schedules.EndsWithin(Limits(at_least=0)).check(key, self.augment_p)
            found = schedules.parse(self.augment_p, key)
            ends = found[1:3] if isinstance(found, Schedule) else (found,)
            require(max(ends) <= 1, f"{key}={self.augment_p}; allowed: up to 1, or adaptive")
        require(
            self.batch_size % self.accumulate_steps == 0,
            f"train.batch_size={self.batch_size} is not divisible by "
            f"train.accumulate_steps={self.accumulate_steps}",
        )


class Term(NamedTuple):
    """One entry of `train.penalties` or `train.regularisers`."""

    name: str
    weight: float | Schedule
    every: int = 1


def term(text: str, field: str) -> Term:
    """Reads one entry of `train.penalties` or `train.regularisers`.

    Args:
      field: `penalties` or `regularisers`; only the first allow `@N`.

    Raises: ConfigError if `text` is not NAME=WEIGHT, the weight is negative, or N is not >= 1.
    """
    name, equals, weight = text.partition("=")
    key = f"train.{field}={text!r}"
    example = {"penalties": "r1=10 or r1=10@16", "regularisers": "lecam=0.3"}[field]
    require(bool(name and equals), f"{key}; allowed: NAME=WEIGHT, such as {example}")
    every = "1"
    if field == "penalties" and "@" in weight:
        weight, _, every = weight.partition("@")
        require(
            every.isascii() and every.isdigit() and int(every) > 0,
            f"{key}: every {every!r} updates; allowed: a whole number >= 1 after @",
        )
    try:
        found = float(weight)
    except ValueError:
        found = weight
    schedules.EndsWithin(Limits(at_least=0)).check(f"{key}: the weight", found)
    return Term(name, schedules.parse(found), int(every))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogConfig:
    """How often scalars are written, and which."""

    # Steps between two lines of scalars.
    every_steps: Count = 100
    # Weights whose largest singular value is written, as PLAYER/LAYER.
    sigma: tuple[str, ...] = ("g/linear", "g/attention", "g/output", "d/attention", "d/head")

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
    # Batches over which batch norm's statistics are computed for the averaged weights.
    statistics_batches: Count = 32

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
