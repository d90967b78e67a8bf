"""Captions as rows of numbers: vocabularies, and the way from words to numbers and back.

A source with captions has `fields["captions"]`, int32 (C, T): C captions of one example, each a
row of numbers of words that ends with `END` and is filled up with it. It also has `vocabulary`, the
words by their numbers, whose first two are `SPECIAL`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int, Int32

from sagan.config.fields import require

END, UNKNOWN = 0, 1
SPECIAL = ("<end>", "<unknown>")


def vocabulary(captions: Iterable[Sequence[str]], min_count: int) -> tuple[str, ...]:
    """Returns `SPECIAL` and all words that occur `min_count` times or more, the frequent first."""
    counts = Counter(word for words in captions for word in words)
    kept = [word for word, count in counts.items() if count >= min_count]
    return (*SPECIAL, *sorted(kept, key=lambda word: (-counts[word], word)))


def encode(
    captions: Sequence[Sequence[str]], vocabulary: Sequence[str], length: int
) -> Int32[np.ndarray, "C T"]:
    """Returns captions as rows of `length` numbers; longer ones are cut so that END still fits."""
    numbers = {word: number for number, word in enumerate(vocabulary)}
    rows = np.full((len(captions), length), END, np.int32)
    for row, words in zip(rows, captions, strict=True):
        found = [numbers.get(word, UNKNOWN) for word in words[: length - 1]]
        row[: len(found)] = found
    return rows


def words(row: Int[np.ndarray, " T"], vocabulary: Sequence[str]) -> list[str]:
    """Returns the words of a row, up to its first END."""
    ends = np.flatnonzero(np.asarray(row) == END)
    return [vocabulary[int(number)] for number in row[: ends[0] if len(ends) else len(row)]]


def tokens(sentence: str) -> list[str]:
    """Splits a sentence as Karpathy's files do: lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", sentence.lower())


def require_vocabulary(vocabulary: Sequence[str]) -> None:
    """Raises: ConfigError unless a vocabulary begins with `SPECIAL` and has words."""
    require(
        tuple(vocabulary[:2]) == SPECIAL and len(vocabulary) > 2,
        f"a vocabulary begins {list(vocabulary[:2])}; needed: {list(SPECIAL)}, and then words",
    )
