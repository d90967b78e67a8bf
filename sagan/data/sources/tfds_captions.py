"""A data set of tensorflow-datasets with captions, named `tfds_captions/<dataset>`: COCO's.

`sagan prepare coco_captions` makes it, with the splits of Karpathy: train, val, test, restval.
Any prepared set does that has images and a feature `captions`, whose items are texts or have one
called `text`. Otherwise as `tfds.py`; what captions become is as in `karpathy.py`.

The captions of a split are read once, from all its records, and then kept in the cache folder.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sagan.config import ConfigError, DataConfig
from sagan.data import Example, captions
from sagan.data.sources.tfds import Prepared, prepared_in, tfds
from sagan.files import cache
from sagan.files.atomic import replace_text
from sagan.files.images import Fit
from sagan.files.progress import Progress

_FORM = "1"  # of the cached captions; to be raised when `captions.tokens` changes
_SHOWN = 1000  # records from which on reading them takes a while


class Captioned(Prepared):
    """One split of a prepared data set, with its captions."""

    def __init__(
        self, folder: Path, split: str, image_size: int, fit: Fit, min_count: int, max_words: int
    ):
        super().__init__(folder, split, image_size, fit)
        sentences = _sentences(folder, split)
        self._corpus = captions.Corpus(
            sentences,
            sentences if split == "train" else _sentences(folder, "train"),
            min_count=min_count,
            max_words=max_words,
            where=str(folder),
        )
        self.vocabulary, self.notes = self._corpus.vocabulary, self._corpus.notes
        self.fields = {"captions": (self._corpus.shape, np.dtype(np.int32))}
        words = hashlib.sha256(f"{self._corpus.shape} {self.vocabulary}".encode())
        self.key += f"-{words.hexdigest()[:16]}"

    def __getitem__(self, index: int) -> Example:
        return {**super().__getitem__(index), "fields": {"captions": self._corpus.rows(index)}}

    def caption_lengths(self) -> np.ndarray:
        """Returns the number of words of each caption, with its end, (N, C)."""
        return self._corpus.lengths()


def load(config: DataConfig, image_size: int, argument: str) -> Captioned:
    """Raises: ConfigError as `tfds.load`, or if the data set has no captions or no split train."""
    if not argument:
        raise ConfigError(
            "data.name=tfds_captions needs the dataset's name, such as tfds_captions/coco_captions"
        )
    folder = prepared_in(config, argument)
    return Captioned(
        folder, config.split, image_size, config.fit, config.min_word_count, config.max_words
    )


def _sentences(folder: Path, split: str) -> list[list[list[str]]]:
    """Returns the captions of each image of a split, as words."""
    builder: Any = tfds().builder_from_directory(folder)
    name, features = builder.info.full_name, builder.info.features
    if "captions" not in features:
        raise ConfigError(f"{name} has no feature captions; it has: {', '.join(features)}")
    if split not in builder.info.splits:
        raise ConfigError(f"{name} has no split {split}, whose captions make the vocabulary")
    files = [(f.name, f.stat().st_size) for f in sorted(folder.glob(f"*-{split}.*"))]
    content = hashlib.sha256(f"{_FORM} {folder.resolve()} {name} {files}".encode())
    path = cache.folder() / "data" / f"captions-{content.hexdigest()[:24]}.json"
    if path.exists():
        return json.loads(path.read_text())
    skip = {key: tfds().decode.SkipDecoding() for key in features if key != "captions"}
    records = builder.as_data_source(split=split, decoders=skip)
    line = Progress(f"captions of {split}", len(records), enabled=len(records) > _SHOWN)
    found = []
    for number in range(len(records)):
        found.append([captions.tokens(text) for text in _texts(records[number]["captions"])])
        line.update(number + 1)
    line.close()
    replace_text(path, json.dumps(found))
    return found


def _texts(feature: Any) -> list[str]:
    items = feature["text"] if isinstance(feature, Mapping) else np.atleast_1d(feature)
    return [item.decode() if isinstance(item, bytes) else str(item) for item in items]
