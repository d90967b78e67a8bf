"""What is learned: `build` returns the task of a config."""

from sagan.config import Config
from sagan.tasks.gan import Gan


def build(config: Config) -> Gan:
    """Returns the task that a config describes."""
    return Gan(config)
