"""Images that cannot be read: replaced, counted and named; an error if there are many.

In a training set, the next readable image takes the place of an unreadable one (after the last
image comes the first). The number of images and their order stay the same. So what a step trains
on still depends on seed, step and index alone, whether the set is held in memory, streamed by
worker processes, divided among machines, or resumed.
"""

import json
import sys
from collections.abc import Mapping

import numpy as np

from sagan.config import ConfigError
from sagan.data import Example, Source, fields_of
from sagan.files.images import BadImage

ALLOWED_SHARE = 0.001  # of a training set
_MAX_NAMED = 3  # unreadable images that an error names


class Tolerant:
    """A source whose unreadable images are replaced.

    Attributes:
      bad: for each unreadable index met so far, why it cannot be read.

    Raises: ConfigError, on reading, when more than `ALLOWED_SHARE` of the set is unreadable.
    """

    def __init__(self, source: Source):
        self.class_names, self.key = source.class_names, source.key
        self.fields = fields_of(source)
        self.bad: dict[int, str] = {}
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        while True:  # ends, since `require_few` raises long before all images are bad
            if index not in self.bad:
                try:
                    return self._source[index]
                except BadImage as error:
                    self.bad[index] = str(error)
                    require_few(self.bad, len(self))
            index = (index + 1) % len(self)


def require_few(bad: Mapping[int, str], num_images: int) -> None:
    """Raises: ConfigError if more than 0.1 % of the images are unreadable.

    Args:
      bad: for each unreadable image, its index and what is wrong with it; the error counts them
        and names the first.
    """
    if len(bad) > ALLOWED_SHARE * num_images:
        named = [bad[index] for index in sorted(bad)]
        raise ConfigError(
            f"{len(bad)} of {num_images} images cannot be read, more than {ALLOWED_SHARE:.1%}: "
            f"{'; '.join(named[:_MAX_NAMED])}{'; …' if len(bad) > _MAX_NAMED else ''} "
            "(`sagan check` lists them all)"
        )


def report(bad: Mapping[int, str], num_images: int, known: Mapping[int, str] | None = None) -> None:
    """Prints, on stderr, the unreadable images that are not in `known` yet."""
    new = [index for index in sorted(bad) if index not in (known or {})]
    if new:
        total = len({*bad, *(known or {})})
        print(
            f"sagan: {total} of {num_images} images cannot be read; "
            "each is replaced by the next one that can be read:",
            file=sys.stderr,
        )
    for index in new:
        print(f"sagan:   {bad[index]}", file=sys.stderr)


def pack(bad: Mapping[int, str]) -> np.ndarray:
    """Encodes indices and reasons as an array, the type that worker processes can return."""
    return np.frombuffer(json.dumps(sorted(bad.items())).encode(), np.uint8)


def unpack(packed: np.ndarray) -> dict[int, str]:
    """Decodes what `pack` encoded."""
    return dict(json.loads(packed.tobytes()))
