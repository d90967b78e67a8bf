"""Canvases with one to four real handwritten digits, and a caption that says where they are.

The digits are scikit-learn's (see `digits.py`), at their own 8 px; splits `train` and `test` share
no handwriting. They stand in one or two rows of one or two digits each, at random places. Captions
follow the grammar

    scene = row | row "above" row
    row   = digit | digit "left" "of" digit
    digit = "a" NUMBER | "an" "eight"
"""

import numpy as np

from sagan.config import ConfigError, DataConfig
from sagan.data import Example, held_out, unknown_split
from sagan.data.captions import SPECIAL, encode
from sagan.data.sources.digits import Digits

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_WORDS = ("a", "an", "above", "left", "of", *NUMBERS)
SCENES = {"train": 12_000, "test": 1_000}
_SIDE = 8  # of a digit, in px
_GAP = 2  # between rows and between the digits of a row, in px
_MIN_SIZE = 22  # of a canvas: two digits, and room to move them
_MAX_DIGITS = 4
_MAX_WORDS = 13  # of the longest caption


class Scenes:
    """Scene i depends on split, canvas size and i alone.

    Attributes:
      vocabulary: the words by their numbers in a caption; see `sagan.data.captions`.
      boxed_words: the number words; the k-th in a caption names what is in the k-th box.
      fields: `captions`, one for each scene, and `boxes` (top, left, bottom, right) in px, where
        bottom and right are exclusive; rows of -1 fill up.
    """

    class_names = ("all",)
    vocabulary = (*SPECIAL, *_WORDS)
    boxed_words = NUMBERS
    fields = {
        "captions": ((1, _MAX_WORDS + 1), np.dtype(np.int32)),
        "boxes": ((_MAX_DIGITS, 4), np.dtype(np.int32)),
    }

    def __init__(self, split: str, image_size: int):
        if split not in SCENES:
            raise unknown_split(split, "scenes", tuple(SCENES))
        if image_size < _MIN_SIZE:
            raise ConfigError(f"model.image_size={image_size}; scenes need {_MIN_SIZE} px or more")
        self.held_out = held_out(split, SCENES)
        self.key = f"scenes1-{split}-{image_size}"  # the number rises when the scenes change
        self._count, self._size = SCENES[split], image_size
        self._seed = sum(split.encode())
        digits = Digits(split, _SIDE)
        table = [digits[i] for i in range(len(digits))]
        self._images = np.stack([example["image"] for example in table])
        labels = np.array([example["label"] for example in table])
        self._by_number = [np.flatnonzero(labels == number) for number in range(10)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = np.random.default_rng((self._seed, self._size, index))
        rows = _rows(int(rng.integers(1, _MAX_DIGITS + 1)), rng)
        boxes, image = [], np.zeros((self._size, self._size, 3), np.uint8)
        numbers = [rng.integers(0, 10, count) for count in rows]
        tops = _places(len(rows), self._size, rng)
        for top, row in zip(tops, numbers, strict=True):
            lefts = _places(len(row), self._size, rng)
            for left, number in zip(lefts, row, strict=True):
                # A digit stands up to a pixel higher or lower than its row.
                at = int(np.clip(top + rng.integers(-1, 2), 0, self._size - _SIDE))
                digit = self._images[rng.choice(self._by_number[number])]
                part = image[at : at + _SIDE, left : left + _SIDE]
                np.maximum(part, digit, out=part)
                boxes.append((at, left, at + _SIDE, left + _SIDE))
        words = " above ".join(_row_text(row) for row in numbers).split()
        found = np.full((_MAX_DIGITS, 4), -1, np.int32)
        found[: len(boxes)] = boxes
        captions = encode([words], self.vocabulary, _MAX_WORDS + 1)
        return {"image": image, "label": 0, "fields": {"captions": captions, "boxes": found}}


def load(config: DataConfig, image_size: int, argument: str) -> Scenes:
    """Raises: ConfigError if the split is neither train nor test, or the canvas is too small."""
    del argument
    return Scenes(config.split, image_size)


def _rows(digits: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Divides digits into one or two rows of one or two."""
    possible = {1: [(1,)], 2: [(2,), (1, 1)], 3: [(2, 1), (1, 2)], 4: [(2, 2)]}[digits]
    return possible[rng.integers(len(possible))]


def _places(count: int, size: int, rng: np.random.Generator) -> list[int]:
    """Draws where one or two digits begin along one side, without overlap."""
    if count == 1:
        return [int(rng.integers(0, size - _SIDE + 1))]
    free = size - 2 * _SIDE - _GAP
    first, second = sorted(rng.integers(0, free + 1, 2))
    return [int(first), int(second) + _SIDE + _GAP]


def _row_text(numbers: np.ndarray) -> str:
    return " left of ".join(f"{'an' if n == 8 else 'a'} {NUMBERS[n]}" for n in numbers)
