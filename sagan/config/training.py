"""The sections `optim` and `train`: what every task has, and the fields of GANs.

The sections of other tasks are in their own modules. Those of GANs are here, since GANs are the
default, so that their configs are read without importing the task, which imports jax.
"""

import dataclasses
from typing import Literal, NamedTuple

from sagan.config import schedules
from sagan.config.fields import (
    Count,
    Fraction,
    Limits,
    NotNegative,
    Positive,
    check,
    require,
)
from sagan.config.schedules import FractionSchedule, NotNegativeSchedule, Schedule


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
    # Relative widths of averages that are saved with every checkpoint, such as 0.05,0.1, so that
    # `--ema-sigma` can make one of any width later (EDM2, arXiv:2312.02696). Each costs as much
    # memory as the generator.
    ema_widths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for width in self.ema_widths:
            require(
                0 < width < 12**-0.5, f"optim.ema_widths={width:g}; allowed: above 0, below 0.288"
            )
        require(
            len(set(self.ema_widths)) == len(self.ema_widths),
            "optim.ema_widths: a width is given twice",
        )


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
