"""A whole data set as two arrays, decoded once and kept in the cache folder."""

import json
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from sagan.config import ConfigError
from sagan.data import (
    Example,
    Source,
    contents,
    field,
    fields_of,
    unreadable,
    vocabulary_of,
)
from sagan.data.captions import END
from sagan.files import cache
from sagan.files.atomic import replace_text, replacing, temporary_path
from sagan.files.images import BadImage
from sagan.files.progress import Progress

MIN_CACHED_IMAGES = 5000  # decoding fewer again is faster than looking them up in the cache
_PROGRESS_IMAGES = 500


class DecodedSource:
    """A source that has decoded all its images: uint8 `images` (N, S, S, 3), `labels` (N,).

    Its `values` are the arrays of its fields, (N, …) by name.

    Raises: ConfigError if more images are unreadable than a training set may have, or a label is
      not one of the classes.
    """

    def __init__(self, source: Source, image_size: int):
        self.class_names, self.key = source.class_names, source.key
        self.fields, self.vocabulary = fields_of(source), vocabulary_of(source)
        self.contents = contents.of(source)
        found, bad = _decode(source, image_size, tolerant=True)
        self.images, self.labels, self.values = found
        unreadable.report(bad, len(source))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return {
            "image": np.asarray(self.images[index]),
            "label": int(self.labels[index]),
            "fields": {name: values[index] for name, values in self.values.items()},
        }

    def caption_lengths(self) -> np.ndarray:
        """Returns the number of words of each caption, with its end, (N, C)."""
        return 1 + (self.values["captions"] != END).sum(-1)


def decode_up_to(source: Source, image_size: int, max_bytes: int) -> Source:
    """Decodes all images if they take at most `max_bytes`; else returns the source unchanged.

    Small sets are held in memory, larger ones in a memory-mapped file of the cache folder.

    Raises: ConfigError as `DecodedSource`.
    """
    if isinstance(source, DecodedSource) or num_bytes(source, image_size) > max_bytes:
        return source
    return DecodedSource(source, image_size)


def num_bytes(source: Source, image_size: int) -> int:
    """Returns the bytes of a source's images as uint8 (N, S, S, 3)."""
    return len(source) * image_size * image_size * 3


def arrays(
    source: Source, image_size: int
) -> tuple[UInt8[np.ndarray, "N S S 3"], Int32[np.ndarray, " N"]]:
    """Reads all images and labels, from the cache folder if they were decoded before.

    Raises: ConfigError if an image cannot be read, or a label is not one of the source's classes.
    """
    found, bad = _decode(source, image_size, tolerant=False)
    if bad:  # the cache was filled by a training run, which tolerates a few
        raise BadImage(bad[min(bad)])
    return found.images, found.labels


class _Arrays(NamedTuple):
    """All examples of a source; `values` holds its fields."""

    images: np.ndarray
    labels: np.ndarray
    values: dict[str, np.ndarray]

    @classmethod
    def around(cls, images: np.ndarray, source: Source) -> "_Arrays":
        """Makes room for the labels and fields that go with `images`."""
        values = {
            name: np.empty((len(source), *shape), dtype)
            for name, (shape, dtype) in fields_of(source).items()
        }
        return cls(images, np.empty(len(source), np.int32), values)


def _decode(source: Source, image_size: int, *, tolerant: bool) -> tuple[_Arrays, dict[int, str]]:
    """Returns all examples, and why each image that was replaced could not be read."""
    shape = (len(source), image_size, image_size, 3)
    if len(source) <= MIN_CACHED_IMAGES:
        found = _Arrays.around(np.empty(shape, np.uint8), source)
        return found, _fill(source, found, tolerant)
    folder, names = cache.folder() / "data", ("labels", *fields_of(source))
    image_file, bad_file = (folder / f"{source.key}.{name}" for name in ("images.npy", "bad.json"))
    other_files = {name: folder / f"{source.key}.{name}.npy" for name in names}
    if not all(file.exists() for file in (image_file, *other_files.values())):
        _write_cache(source, shape, image_file, other_files, bad_file, tolerant)
    images = np.load(image_file, mmap_mode="r", allow_pickle=False)
    values = {name: np.load(file, allow_pickle=False) for name, file in other_files.items()}
    if images.shape != shape or any(len(value) != len(source) for value in values.values()):
        raise ConfigError(
            f"{image_file} holds {images.shape} instead of {shape}; remove it to decode again"
        )
    found = _Arrays(images, values.pop("labels"), values)
    return found, dict(json.loads(bad_file.read_text())) if bad_file.exists() else {}


def _write_cache(
    source: Source,
    shape: tuple[int, ...],
    image_file: Path,
    other_files: dict[str, Path],
    bad_file: Path,
    tolerant: bool,
) -> None:
    """Decodes into temporary files. Images are renamed last, so that a reader finds them all."""
    temporary = temporary_path(image_file)
    images = _preallocate(temporary, shape)
    found = _Arrays.around(images, source)
    try:
        bad = _fill(source, found, tolerant)
        images.flush()
        replace_text(bad_file, json.dumps(sorted(bad.items())))
        for name, values in {"labels": found.labels, **found.values}.items():
            with replacing(other_files[name]) as file:
                np.save(file, values)
        temporary.replace(image_file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _preallocate(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """Creates a file for images of `shape`, with all its blocks allocated.

    Otherwise, writing to a mapped page would end the process with SIGBUS if the disk is full.

    Raises: ConfigError if there is no room.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        images = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with file.open("r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, images.offset + images.nbytes)
    except OSError as error:
        if file.exists():
            file.unlink()
        raise ConfigError(
            f"{file.parent} (in $SAGAN_CACHE, else ~/.cache/sagan) has no room for "
            f"{math.prod(shape):,} bytes of decoded images: {error.strerror}"
        ) from error
    return images


def _fill(source: Source, found: _Arrays, tolerant: bool) -> dict[int, str]:
    """Reads every image; if `tolerant`, the next readable one replaces an unreadable one.

    Returns: why each unreadable image cannot be read.
    """
    bad = {}
    progress = Progress("reading", len(source), enabled=len(source) > MIN_CACHED_IMAGES)
    for index in range(len(source)):
        try:
            example = source[index]
            found.images[index], found.labels[index] = example["image"], example["label"]
            for name, values in found.values.items():
                values[index] = field(example, name)
        except BadImage as error:
            if not tolerant:
                raise
            bad[index] = str(error)
        if index % _PROGRESS_IMAGES == 0:
            progress.update(index)
    progress.update(len(source))
    progress.close()
    unreadable.require_few(bad, len(source))
    for index in bad:
        replacement = index
        while replacement in bad:
            replacement = (replacement + 1) % len(source)
        for values in (found.images, found.labels, *found.values.values()):
            values[index] = values[replacement]
    check_labels(source, found.labels)
    return bad


def check_labels(source: Source, labels: np.ndarray) -> None:
    """Raises: ConfigError naming the first image whose label is out of range."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(source.class_names)))
    if len(wrong):
        raise ConfigError(
            f"image {wrong[0]} has label {labels[wrong[0]]}; "
            f"allowed: 0 … {len(source.class_names) - 1}"
        )
