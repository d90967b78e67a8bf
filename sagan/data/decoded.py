"""A whole data set as two arrays, decoded once and kept in the cache folder."""

import json
import math
import os
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from sagan.config import ConfigError
from sagan.data import Example, Source, contents, unreadable
from sagan.files import cache
from sagan.files.atomic import replace_text, replacing, temporary_path
from sagan.files.images import BadImage
from sagan.files.progress import Progress

MIN_CACHED_IMAGES = 5000  # decoding fewer again is faster than looking them up in the cache
_PROGRESS_IMAGES = 500


class DecodedSource:
    """A source that has decoded all its images: uint8 `images` (N, S, S, 3), `labels` (N,).

    Raises: ConfigError if more images are unreadable than a training set may have, or a label is
      not one of the classes.
    """

    def __init__(self, source: Source, image_size: int):
        self.class_names, self.key = source.class_names, source.key
        self.contents = contents.of(source)
        self.images, self.labels, bad = _decode(source, image_size, tolerant=True)
        unreadable.report(bad, len(source))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return {"image": np.asarray(self.images[index]), "label": int(self.labels[index])}


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
    images, labels, bad = _decode(source, image_size, tolerant=False)
    if bad:  # the cache was filled by a training run, which tolerates a few
        raise BadImage(bad[min(bad)])
    return images, labels


def _decode(
    source: Source, image_size: int, *, tolerant: bool
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Returns images, labels, and why each image that was replaced could not be read."""
    shape = (len(source), image_size, image_size, 3)
    if len(source) <= MIN_CACHED_IMAGES:
        images, labels = np.empty(shape, np.uint8), np.empty(len(source), np.int32)
        return images, labels, _fill(source, images, labels, tolerant)
    folder = cache.folder() / "data"
    image_file, label_file, bad_file = (
        folder / f"{source.key}.{name}" for name in ("images.npy", "labels.npy", "bad.json")
    )
    if not (image_file.exists() and label_file.exists()):
        _write_cache(source, shape, image_file, label_file, bad_file, tolerant)
    images = np.load(image_file, mmap_mode="r", allow_pickle=False)
    labels = np.load(label_file, allow_pickle=False)
    if images.shape != shape or labels.shape != shape[:1]:
        raise ConfigError(
            f"{image_file} holds {images.shape} instead of {shape}; remove it to decode again"
        )
    return images, labels, dict(json.loads(bad_file.read_text())) if bad_file.exists() else {}


def _write_cache(
    source: Source,
    shape: tuple[int, ...],
    image_file: Path,
    label_file: Path,
    bad_file: Path,
    tolerant: bool,
) -> None:
    """Decodes into temporary files. Images are renamed last, so that a reader finds all three."""
    temporary = temporary_path(image_file)
    images = _preallocate(temporary, shape)
    labels = np.empty(len(source), np.int32)
    try:
        bad = _fill(source, images, labels, tolerant)
        images.flush()
        replace_text(bad_file, json.dumps(sorted(bad.items())))
        with replacing(label_file) as file:
            np.save(file, labels)
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


def _fill(source: Source, images: np.ndarray, labels: np.ndarray, tolerant: bool) -> dict[int, str]:
    """Reads every image; if `tolerant`, the next readable one replaces an unreadable one.

    Returns: why each unreadable image cannot be read.
    """
    bad = {}
    progress = Progress("reading", len(source), enabled=len(source) > MIN_CACHED_IMAGES)
    for index in range(len(source)):
        try:
            example = source[index]
            images[index], labels[index] = example["image"], example["label"]
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
        images[index], labels[index] = images[replacement], labels[replacement]
    check_labels(source, labels)
    return bad


def check_labels(source: Source, labels: np.ndarray) -> None:
    """Raises: ConfigError naming the first image whose label is out of range."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(source.class_names)))
    if len(wrong):
        raise ConfigError(
            f"image {wrong[0]} has label {labels[wrong[0]]}; "
            f"allowed: 0 … {len(source.class_names) - 1}"
        )
