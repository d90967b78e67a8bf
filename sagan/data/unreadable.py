"""Images that cannot be read: passed over, counted, named; an error when they are many.

In a training set, the index of an unreadable image gives the next image that can be read (after
the last comes the first). The length of the set stays, and with it the order: what a step trains
on is still a function of seed, step and index, the same whether the set is held in memory, streamed
by worker processes, shared by several machines or resumed.
"""

import json
import sys
from collections.abc import Mapping

import numpy as np

from sagan.config import ConfigError
from sagan.data import Example, Source
from sagan.files.images import BadImage

ALLOWED_SHARE = 0.001  # of a training set
_NAMED = 3  # of the bad ones, in an error


class Tolerant:
    """A source whose unreadable images are replaced.

    Attributes:
      bad: why each index found so far cannot be read.

    Raises: ConfigError, on reading, when more than `ALLOWED_SHARE` of the set is bad.
    """

    def __init__(self, source: Source):
        self.class_names, self.key = source.class_names, source.key
        self.bad: dict[int, str] = {}
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        while True:  # ends: a set that is all bad is too bad
            if index not in self.bad:
                try:
                    return self._source[index]
                except BadImage as error:
                    self.bad[index] = str(error)
                    require_few(self.bad, len(self))
            index = (index + 1) % len(self)


def require_few(bad: Mapping[int, str], num_images: int) -> None:
    """Raises: ConfigError with their number and the first of them, if the bad ones are many."""
    if len(bad) > ALLOWED_SHARE * num_images:
        named = [bad[index] for index in sorted(bad)]
        raise ConfigError(
            f"{len(bad)} of {num_images} images cannot be read, more than {ALLOWED_SHARE:.1%}: "
            f"{'; '.join(named[:_NAMED])}{'; …' if len(bad) > _NAMED else ''} "
            "(`sagan check` lists them all)"
        )


def report(bad: Mapping[int, str], num_images: int, known: Mapping[int, str] | None = None) -> None:
    """Names, on stderr, the images that were passed over and are not `known` yet."""
    new = [index for index in sorted(bad) if index not in (known or {})]
    if new:
        total = len({*bad, *(known or {})})
        print(
            f"sagan: {total} of {num_images} images cannot be read; "
            "the next one takes the place of each:",
            file=sys.stderr,
        )
    for index in new:
        print(f"sagan:   {bad[index]}", file=sys.stderr)


def pack(bad: Mapping[int, str]) -> np.ndarray:
    """Writes indices and reasons as an array, which worker processes can hand over."""
    return np.frombuffer(json.dumps(sorted(bad.items())).encode(), np.uint8)


def unpack(packed: np.ndarray) -> dict[int, str]:
    return dict(json.loads(packed.tobytes()))
