"""Images with captions as Karpathy's splits describe them: Flickr8k, Flickr30k, COCO, or yours.

`data.dir` is a folder with `dataset.json` and the images, or another such file by its path:

    {"images": [{"filename": "1.jpg", "split": "train", "filepath": "train2014",
                 "sentences": [{"raw": "A dog runs .", "tokens": ["a", "dog", "runs"]}]}]}

`filepath`, a folder, may be absent, and `tokens` too: `raw` is then split into words. An image is
looked for in `filepath` and beside the file, and in `images/` and in `Images/` beside it. Several
splits may be joined, as in `data.split=train+restval`.

The vocabulary is that of split `train`, whichever split is opened. Words that occur less often than
`data.min_word_count` are unknown. Every image has as many captions as most images have; one with
fewer repeats them, and surplus ones are not used.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sagan.config import ConfigError, DataConfig
from sagan.data import Example, captions, held_out, unknown_split
from sagan.data.stored import Stored
from sagan.files import images, places
from sagan.files.images import Fit

NAME = "dataset.json"
_PLACES = (".", "images", "Images")


class Karpathy(Stored):
    """The images of one split, each with its captions."""

    class_names = ("all",)

    def __init__(
        self, file: Path, split: str, image_size: int, fit: Fit, min_count: int, max_words: int
    ):
        super().__init__(image_size, fit)
        text = file.read_bytes()
        entries = _entries(text, file)
        known = tuple(dict.fromkeys(entry["split"] for entry in entries))
        for part in split.split("+"):
            if part not in known:
                raise unknown_split(part, str(file), known)
        self.held_out = held_out(split.partition("+")[0], known)
        self._root = file.parent
        self._entries = [entry for entry in entries if entry["split"] in split.split("+")]
        self._corpus = captions.Corpus(
            [entry["words"] for entry in self._entries],
            [entry["words"] for entry in entries if entry["split"] == "train"],
            min_count=min_count,
            max_words=max_words,
            where=str(file),
        )
        self.vocabulary, self.notes = self._corpus.vocabulary, self._corpus.notes
        self.fields = {"captions": (self._corpus.shape, np.dtype(np.int32))}
        content = hashlib.sha256(text + f"{split} {image_size} {fit} {min_count}".encode())
        self.key = f"karpathy-{content.hexdigest()[:24]}-{self._corpus.shape[1] - 1}"

    def __len__(self) -> int:
        return len(self._entries)

    def stored(self, index: int) -> tuple[Image.Image, int]:
        return images.decode(self._path(self._entries[index])), 0

    def __getitem__(self, index: int) -> Example:
        image, label = self.stored(index)
        fields = {"captions": self._corpus.rows(index)}
        return {"image": self.fitted(image), "label": label, "fields": fields}

    def caption_lengths(self) -> np.ndarray:
        """Returns the number of words of each caption, with its end, (N, C)."""
        return self._corpus.lengths()

    def require_images(self) -> None:
        """Raises: ConfigError if files of images are not there, naming the first."""
        paths = [path for path in map(self._path, self._entries) if not path.is_file()]
        if paths:
            raise ConfigError(
                f"{len(paths)} of {len(self)} images are missing, such as {paths[0]}; they are "
                f"looked for in {', '.join(f'{place}/' for place in _PLACES)} beside {NAME}"
            )

    def _path(self, entry: dict[str, Any]) -> Path:
        """Returns where the image is, or the first place where it was looked for."""
        looked = [
            self._root / place / folder / entry["filename"]
            for folder in dict.fromkeys((entry["filepath"], ""))
            for place in _PLACES
        ]
        return next((path for path in looked if path.is_file()), looked[0])


def load(config: DataConfig, image_size: int, argument: str) -> Karpathy:
    """Raises: ConfigError if `data.dir` or its file is missing or malformed, or lacks the split."""
    del argument
    if config.dir is None:
        raise ConfigError(f"data.name={config.name} needs data.dir=FOLDER with {NAME} and images")
    file = places.local(config.dir, "data.dir=")
    file = file / NAME if file.is_dir() else file
    if not file.is_file():
        raise ConfigError(f"data.dir={config.dir}: there is no file {file}")
    source = Karpathy(
        file, config.split, image_size, config.fit, config.min_word_count, config.max_words
    )
    source.require_images()
    return source


def _entries(text: bytes, file: Path) -> list[dict[str, Any]]:
    """Returns the images of a file that have captions.

    Raises: ConfigError naming the first entry that is not as expected.
    """
    try:
        listed = json.loads(text)["images"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{file}: not JSON with a list `images` ({error})") from error
    if not isinstance(listed, list):
        raise ConfigError(f"{file}: `images` is no list, but {str(listed)[:40]}")
    found = []
    for number, entry in enumerate(listed):
        try:
            name, folder = Path(entry["filename"]), Path(entry.get("filepath", ""))
            sentences = [
                [str(word) for word in s["tokens"]] if "tokens" in s else captions.tokens(s["raw"])
                for s in entry["sentences"]
            ]
            split = str(entry["split"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{file}: images[{number}] needs filename, split and sentences with tokens or raw "
                f"({type(error).__name__}: {error})"
            ) from error
        inside = not (name.is_absolute() or folder.is_absolute())
        if not inside or ".." in (*name.parts, *folder.parts):
            raise ConfigError(f"{file}: images[{number}] is outside the folder: {folder / name}")
        if sentences:
            found.append({"filename": name, "filepath": folder, "split": split, "words": sentences})
    if not any(entry["split"] == "train" for entry in found):
        raise ConfigError(f"{file}: no image of split train has captions")
    return found
