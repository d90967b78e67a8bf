"""Which checkpoints are kept when another one is saved."""

from collections.abc import Sequence
from typing import Any

from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

from sagan.config import CheckpointConfig


class KeepWorthy(policy.PreservationPolicy):
    """Keeps `steps` whenever another step is saved."""

    def __init__(self) -> None:
        self.steps: frozenset[int] = frozenset()

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: policy.PreservationContext
    ) -> list[bool]:
        del context
        return [checkpoint.step in self.steps for checkpoint in checkpoints]


def policy_of(config: CheckpointConfig, worthy: KeepWorthy) -> Any:
    """Returns what keeps the newest steps, those at multiples of a number, and the worthy ones."""
    policies: list[Any] = [policy.LatestN(config.keep), worthy]
    if config.keep_every_steps is not None:
        policies.append(policy.EveryNSteps(config.keep_every_steps))
    return policy.AnyPreservationPolicy(policies)
