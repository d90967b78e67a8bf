"""Captions as rows of numbers: vocabularies, and the way from words to numbers and back.

A source with captions has `fields["captions"]`, int32 (C, T): C captions of one example, each a
row of numbers of words that ends with `END` and is filled up with it. It also has `vocabulary`, the
words by their numbers, whose first two are `SPECIAL`. If it is too large to be held in memory, it
may have `caption_lengths`, which `train.length_buckets` needs; see `lengths_of`.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Int32

from sagan.config import ConfigError
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


def lengths_of(source: Any) -> Int[np.ndarray, "N C"]:
    """Returns the number of words of each caption of each example, with its end.

    Raises: ConfigError if the source does not know them.
    """
    if not hasattr(source, "caption_lengths"):
        raise ConfigError(
            "train.length_buckets sorts captions, but this source has no method caption_lengths "
            "and is too large to be held in memory; allowed: 1"
        )
    return source.caption_lengths()


def words(row: Int[np.ndarray, " T"], vocabulary: Sequence[str]) -> list[str]:
    """Returns the words of a row, up to its first END."""
    ends = np.flatnonzero(np.asarray(row) == END)
    return [vocabulary[int(number)] for number in row[: ends[0] if len(ends) else len(row)]]


def tokens(sentence: str) -> list[str]:
    """Splits a sentence as Karpathy's files do: lower case, without punctuation.

    Letters, digits and marks of all scripts are parts of words, and so are apostrophes inside. A
    script without spaces must come as words already.
    """
    text = unicodedata.normalize("NFC", sentence).lower().replace("\u2019", "'")
    kept = "".join(c if c == "'" or _is_of_word(c) else " " for c in text)
    return [word for part in kept.split() if (word := part.strip("'"))]


def _is_of_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


class Corpus:
    """The captions of a split, and the vocabulary of the training split.

    Every image has as many captions as most training images have; one with fewer repeats them, and
    surplus ones are not used.

    Attributes:
      shape: (captions of an image, words of the longest and the end).
      notes: what of the captions is cut or empty, in sentences.

    Args:
      sentences: for each image of the split, one or more captions as words.
      training: the same for the training split.
      min_count: rarer words are unknown.
      max_words: captions are cut after so many words.
      where: the data set, for errors.

    Raises: ConfigError if an image has no caption, or no word is frequent enough.
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[Sequence[str]]],
        training: Sequence[Sequence[Sequence[str]]],
        *,
        min_count: int,
        max_words: int,
        where: str,
    ):
        for part, name in ((sentences, "the split"), (training, "split train")):
            bare = next((n for n, found in enumerate(part) if not found), None)
            require(bare is None, f"{where}: image {bare} of {name} has no caption")
        flat = [words for found in training for words in found]
        self.vocabulary = vocabulary(flat, min_count)
        if len(self.vocabulary) <= len(SPECIAL):
            raise ConfigError(
                f"{where}: no word of split train occurs data.min_word_count={min_count} times"
            )
        usual = Counter(map(len, training)).most_common(1)[0][0]
        self.shape = (usual, min(max(map(len, flat)), max_words) + 1)
        lengths = np.array([len(words) for found in sentences for words in found])
        most = self.shape[1] - 1
        numbers = {
            f"have more than {most} words and are cut": (lengths > most).sum(),
            "have no words": (lengths == 0).sum(),
        }
        self.notes = tuple(
            f"{count} captions of {where} {what}" for what, count in numbers.items() if count
        )
        self._sentences = sentences

    def rows(self, index: int) -> Int32[np.ndarray, "C T"]:
        """Returns the captions of an image as numbers."""
        return encode(self._chosen(index), self.vocabulary, self.shape[1])

    def lengths(self) -> Int32[np.ndarray, "N C"]:
        """Returns the number of words of each caption of each image, with its end."""
        found = [[len(words) for words in self._chosen(n)] for n in range(len(self._sentences))]
        return np.minimum(np.array(found, np.int32) + 1, self.shape[1])

    def _chosen(self, index: int) -> list[Sequence[str]]:
        found = self._sentences[index]
        return [found[n % len(found)] for n in range(self.shape[0])]


def require_vocabulary(vocabulary: Sequence[str]) -> None:
    """Raises: ConfigError unless a vocabulary begins with `SPECIAL` and has words."""
    require(
        tuple(vocabulary[:2]) == SPECIAL and len(vocabulary) > 2,
        f"a vocabulary begins {list(vocabulary[:2])}; needed: {list(SPECIAL)}, and then words",
    )
