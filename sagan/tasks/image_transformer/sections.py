"""The sections `optim` and `train` of the Image Transformer's configs."""

import dataclasses
from typing import Literal

from sagan.config import OptimConfig as AnyOptimConfig
from sagan.config import TrainConfig as AnyTrainConfig
from sagan.config.fields import Count, Fraction, NotNegative, Positive
from sagan.config.schedules import FractionSchedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig(AnyOptimConfig):
    """Adam, its learning rate over time, and the moving average of the weights."""

    # Decay of Adam's average of squared gradients.
    beta2: FractionSchedule = 0.98
    # Added to the root of the squared gradients, so that it is never zero.
    epsilon: Positive = 1e-9
    # The highest rate of "one_cycle"; the factor of "noam".
    learning_rate: Positive = 0.5
    # "noam": rises linearly, then falls as one over the root of the step. "one_cycle": rises
    # linearly, then falls as half a cosine, to 0 at `decay_steps`.
    schedule: Literal["noam", "one_cycle"] = "noam"
    # Steps in which the rate rises.
    warmup_steps: Count = 4000
    # Steps after which the rate of "one_cycle" is 0.
    decay_steps: Count = 100_000
    # Share of themselves that kernels and tables lose in each step, times the learning rate.
    weight_decay: NotNegative = 0.0
    # Decay per step of the averaged weights, which images are drawn with; 0: the current weights.
    ema_decay: Fraction = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(AnyTrainConfig):
    """How long to train, on how much data per step, and against which targets."""

    # Share of a target's probability that lies on the two neighbouring levels, unless the target is
    # the lowest or the highest level; "categorical" only.
    soften: Fraction = 0.0
