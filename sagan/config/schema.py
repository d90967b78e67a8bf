"""What a run is: frozen dataclasses, each field with its unit and its limits.

Nothing here imports jax, so a mistyped key is answered before anything slow starts.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from sagan.config import ConfigError
from sagan.config.fields import check_types, require

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where real images come from and how they are varied."""

    name: str = "digits"  # digits, folder, synthetic, tfds/<dataset>, or a dotted module name
    dir: str | None = None  # folder of images, or data_dir of tensorflow-datasets
    split: str = "train"
    flip: bool = False  # random left-right flip
    shift_px: int = 0  # random translation of up to this many pixels, edges repeated
    resident_bytes: int = 4 << 30  # sets up to this size live on the device
    workers: int = 4  # processes that decode larger sets

    def __post_init__(self) -> None:
        check_types(self, "data")
        require(self.shift_px >= 0, f"data.shift_px={self.shift_px}; allowed: >= 0")
        require(self.workers >= 0, f"data.workers={self.workers}; allowed: >= 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The two networks."""

    name: str = "sagan"  # a file of sagan/models, or a dotted module name
    image_size: int = 32
    num_classes: int | Literal["data"] | None = (
        "data"  # "data": as the set has; None: unconditional
    )
    z_dim: int = 128
    g_channels: int = 64  # base width; the table of the model multiplies it
    d_channels: int = 64
    attention: tuple[int, ...] = (16,)  # feature map sizes with self-attention; () is SNGAN
    attention_d: tuple[int, ...] | None = None  # for the discriminator, where it differs
    attention_variant: Literal["released", "paper"] = "released"
    # auto: full below 64 px, from there on memory_efficient; flash: one kernel of cuDNN's where it
    # can, else memory_efficient, all of which are the same; local: near positions alone
    attention_form: Literal["auto", "full", "memory_efficient", "flash", "local_1d", "local_2d"] = (
        "auto"
    )
    attention_block: int = 16  # local_2d: side of a block in px; local_1d: its square is the length
    spectral_norm_g: bool = True
    spectral_norm_d: bool = True
    init: Literal["xavier", "orthogonal"] = "xavier"
    batch_norm_decay: float = 0.9
    batch_norm_epsilon: float = 1e-5
    batch_norm_group: int | None = None  # devices that share batch statistics; None: all
    dtype: Literal["float32", "bfloat16"] = "float32"  # of activations; parameters stay float32

    def __post_init__(self) -> None:
        check_types(self, "model")
        if isinstance(self.num_classes, int):
            require(
                self.num_classes >= 1,
                f"model.num_classes={self.num_classes}; allowed: >= 1, data, or none",
            )
        for name in ("z_dim", "g_channels", "d_channels"):
            value = getattr(self, name)
            require(value >= 1, f"model.{name}={value}; allowed: >= 1")
        require(
            0 <= self.batch_norm_decay < 1,
            f"model.batch_norm_decay={self.batch_norm_decay}; allowed: [0, 1)",
        )

    @property
    def discriminator_attention(self) -> tuple[int, ...]:
        """Sizes of its maps with self-attention: none where the generator has none."""
        if self.attention_d is None or not self.attention:
            return self.attention
        return self.attention_d


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Adam for each player, and the average of the generator's weights."""

    g_learning_rate: float | str = 1e-4
    d_learning_rate: float | str = 4e-4
    beta1: float = 0.0
    beta2: float | str = 0.9
    epsilon: float = 1e-8
    linear_decay_steps: int | None = None  # learning rates fall to 0 over so many steps
    ema_decay: float | str = 0.9999  # 0: the average is the current weights
    ema_start_step: int = 1000  # until then the average follows the weights

    def __post_init__(self) -> None:
        check_types(self, "optim")
        for name in ("beta1",):
            value = getattr(self, name)
            require(0 <= value < 1, f"optim.{name}={value}; allowed: [0, 1)")
        for name in ("epsilon",):
            value = getattr(self, name)
            require(value > 0, f"optim.{name}={value}; allowed: > 0")
        decay = self.linear_decay_steps
        require(
            decay is None or decay >= 1,
            f"optim.linear_decay_steps={decay}; allowed: >= 1, or none",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The game: how long, how much, who moves how often."""

    steps: int = 100_000  # generator updates
    batch_size: int = 64  # global, per update of either player
    d_steps_per_g_step: int = 1
    accumulate_steps: int = 1  # a batch is worked through in so many equal parts
    penalties: tuple[str, ...] = ()
    loss: str = "hinge"  # a row of sagan.tasks.gan.losses.LOSSES, or module:name
    penalty: str = "none"  # a row of sagan.tasks.gan.losses.PENALTIES, or module:name
    penalty_weight: float = 10.0
    parallel: Literal["shard_map", "pmap"] = "shard_map"
    steps_per_dispatch: int = 1  # on accelerators; the CPU dispatches every step

    def __post_init__(self) -> None:
        check_types(self, "train")
        for name in ("steps", "batch_size", "d_steps_per_g_step", "accumulate_steps"):
            value = getattr(self, name)
            require(value >= 1, f"train.{name}={value}; allowed: >= 1")
        require(
            self.batch_size % self.accumulate_steps == 0,
            f"train.batch_size={self.batch_size} is not divisible by "
            f"train.accumulate_steps={self.accumulate_steps}",
        )
        require(
            self.steps_per_dispatch >= 1,
            f"train.steps_per_dispatch={self.steps_per_dispatch}; allowed: >= 1",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogConfig:
    """How often one line of scalars is written, and of which weights sigma is in it."""

    every_steps: int = 100
    sigma: tuple[str, ...] = ("g/linear", "g/attention", "g/output", "d/attention", "d/head")

    def __post_init__(self) -> None:
        check_types(self, "log")
        require(self.every_steps >= 1, f"log.every_steps={self.every_steps}; allowed: >= 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Grids of one fixed set of latents, drawn while training."""

    every_steps: int = 1000
    num_per_class: int = 8  # columns; one row per class, at most 16 rows

    def __post_init__(self) -> None:
        check_types(self, "sample")
        require(self.every_steps >= 0, f"sample.every_steps={self.every_steps}; allowed: >= 0")
        require(
            self.num_per_class >= 1, f"sample.num_per_class={self.num_per_class}; allowed: >= 1"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """What is kept, and the statistics that sampling will use."""

    every_steps: int = 1000
    keep: int = 2  # newest ones; the best by eval.best_metric is always kept too
    keep_every_steps: int | None = None  # and every multiple of this, for ever
    statistics_batches: int = 32  # batches that batch norm's statistics are recomputed over

    def __post_init__(self) -> None:
        check_types(self, "checkpoint")
        for name in ("every_steps", "keep", "statistics_batches"):
            value = getattr(self, name)
            require(value >= 1, f"checkpoint.{name}={value}; allowed: >= 1")
        every = self.keep_every_steps
        require(
            every is None or every >= 1,
            f"checkpoint.keep_every_steps={every}; allowed: >= 1, or none",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Scores computed during training and at its end, and by `sagan eval` by default."""

    every_steps: int = 0  # 0: not while training
    at_end: bool = False
    metrics: tuple[str, ...] = ("fid", "is")
    features: str = "inception"  # a network of sagan/features
    num_images: int = 50_000
    batch_size: int = 64
    best_metric: str = "fid"  # the checkpoint with the best of this is kept

    def __post_init__(self) -> None:
        check_types(self, "eval")
        require(self.every_steps >= 0, f"eval.every_steps={self.every_steps}; allowed: >= 0")
        for name in ("num_images", "batch_size"):
            value = getattr(self, name)
            require(value >= 1, f"eval.{name}={value}; allowed: >= 1")
        known = self.best_metric in self.metrics or any("." in name for name in self.metrics)
        require(
            not self.every_steps or known,
            f"eval.best_metric={self.best_metric!r} is not among those measured every "
            f"{self.every_steps} steps; allowed: {', '.join(self.metrics)}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """What the loop does about hangs, other owners, and numbers that go wrong."""

    watchdog_seconds: int = 900  # without a step: stacks are dumped and the process ends; 0: never
    lock_seconds: int = 120  # a lock on the work directory not renewed for so long is taken over
    skip_steps: int = 20  # steps with non-finite numbers that are skipped before giving up
    stop_on_collapse: bool = False  # end the run, saved, when the sentinel sees a collapse
    min_diversity: float = 0.1  # mean pairwise distance of samples over that of real images
    max_margin: float = 50.0  # mean logit of real images minus that of samples

    def __post_init__(self) -> None:
        check_types(self, "guard")
        for name in ("watchdog_seconds", "skip_steps", "min_diversity", "max_margin"):
            value = getattr(self, name)
            require(value >= 0, f"guard.{name}={value}; allowed: >= 0")
        require(self.lock_seconds >= 1, f"guard.lock_seconds={self.lock_seconds}; allowed: >= 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One run, whole. `name` is also the default work directory's."""

    name: str = "digits"
    seed: int = 0
    task: str = "gan"
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)
    sample: SampleConfig = dataclasses.field(default_factory=SampleConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    guard: GuardConfig = dataclasses.field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        check_types(self, "")
        require(0 <= self.seed < 2**32, f"seed={self.seed}; allowed: 0 .. 2**32 - 1")
        require(
            self.name == Path(self.name).name
            and self.name not in ("", ".", "..")
            and self.name.isprintable(),
            f"name={self.name!r}; allowed: a plain folder name",
        )


def penalty(text):
    from sagan.config.schedules import parse

    name, _, weight = text.partition("=")
    return name, parse(float(weight) if ":" not in weight else weight)
