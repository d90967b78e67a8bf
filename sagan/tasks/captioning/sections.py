"""The sections `optim` and `train` of captioning runs."""

import dataclasses

from sagan import config
from sagan.config.fields import Count, NotNegative
from sagan.config.schedules import NotNegativeSchedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig(config.OptimConfig):
    """Adam."""

    # Learning rate; a schedule counts the images that were trained on.
    learning_rate: NotNegativeSchedule = 2e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(config.TrainConfig):
    """How long to train, on how much data per step, and what attention is asked for."""

    # Weight of the "doubly stochastic" penalty of soft attention, which is smallest where each
    # place gets a weight of 1 in all over the words of a caption.
    attention_penalty: NotNegative = 1.0
    # Weight of the REINFORCE term, from which hard attention learns.
    reinforce_weight: NotNegative = 0.1
    # Weight of the entropy of hard attention, which is raised so that it keeps trying places.
    entropy_weight: NotNegative = 0.002
    # Above 1, batches hold captions of similar length, and a step has only as many words as they
    # need, of this many possible numbers, each of which is compiled.
    length_buckets: Count = 1
