"""What a sampler shows of its network for people to point at: images, and where it looks.

A sampler may have a method `exhibits(count) -> list[Exhibit]`; `sagan report` shows them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8


class Look(NamedTuple):
    """Where a network looks from each place that a person can point at.

    Attributes:
      name: of the layer, or of what the maps are.
      maps: for each place, how much each part of the image counts; at least 0, any scale.
      note: a line that is shown beside the maps.
      words: the places are these words. If empty, they are squares of the image, row by row.
    """

    name: str
    maps: Float[np.ndarray, "Q k k"] | Bool[np.ndarray, "Q k k"]
    note: str = ""
    words: Sequence[str] = ()


class Exhibit(NamedTuple):
    """One image and where a network looks in it."""

    title: str
    image: UInt8[np.ndarray, "S S 3"]
    looks: Sequence[Look]
