"""A whole set as two arrays, decoded once and kept in the cache folder."""

import json
import math
import os
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from sagan.config import Config, ConfigError
from sagan.data import Example, Source, unreadable
from sagan.files import cache
from sagan.files.atomic import replace_text
from sagan.files.images import BadImage
from sagan.files.progress import Progress

_SMALL = 5000  # images; below that, decoding again is quicker than looking for a file
_CHUNK = 500


class Held:
    """A source that was read whole; `images` and `labels` are its arrays.

    Raises: ConfigError if more images are bad than a training set may have (`unreadable`).
    """

    def __init__(self, source: Source, image_size: int):
        self.class_names, self.key = source.class_names, source.key
        self.images, self.labels, bad = _whole(source, image_size, tolerant=True)
        unreadable.report(bad, len(source))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return {"image": np.asarray(self.images[index]), "label": int(self.labels[index])}


def hold(config: Config, source: Source) -> Source:
    """Reads a set whole if it is to live on the devices; larger ones stay as they are.

    Raises: ConfigError if too many images cannot be read, or a label is not one of the classes.
    """
    size = config.model.image_size
    if isinstance(source, Held) or num_bytes(source, size) > config.data.resident_bytes:
        return source
    return Held(source, size)


def num_bytes(source: Source, image_size: int) -> int:
    """Gives the size of a set's images in memory."""
    return len(source) * image_size * image_size * 3


def arrays(
    source: Source, image_size: int
) -> tuple[UInt8[np.ndarray, "N S S 3"], Int32[np.ndarray, " N"]]:
    """Reads a whole set, from the cache folder if it was read before.

    Raises: ConfigError if an image cannot be read, or a label is not one of the source's classes.
    """
    images, labels, bad = _whole(source, image_size, tolerant=False)
    if bad:  # a training run has read it
        raise BadImage(bad[min(bad)])
    return images, labels


def _whole(
    source: Source, image_size: int, *, tolerant: bool
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Gives images, labels, and what was wrong with those that were replaced."""
    shape = (len(source), image_size, image_size, 3)
    if len(source) <= _SMALL:
        images, labels = np.empty(shape, np.uint8), np.empty(len(source), np.int32)
        return images, labels, _fill(source, images, labels, tolerant)
    folder = cache.folder() / "data"
    image_file, label_file, bad_file = (
        folder / f"{source.key}.{name}" for name in ("images.npy", "labels.npy", "bad.json")
    )
    if not (image_file.exists() and label_file.exists()):
        temporary = image_file.with_name(f".{image_file.name}.{os.getpid()}")
        packed = _room(temporary, shape)
        labels = np.empty(len(source), np.int32)
        try:
            bad = _fill(source, packed, labels, tolerant)
            packed.flush()
        except BaseException:
            temporary.unlink()
            raise
        replace_text(bad_file, json.dumps(sorted(bad.items())))
        temporary_labels = label_file.with_name(f".{label_file.name}.{os.getpid()}.npy")
        np.save(temporary_labels, labels)
        temporary_labels.replace(label_file)
        temporary.replace(image_file)
    images = np.load(image_file, mmap_mode="r", allow_pickle=False)
    labels = np.load(label_file, allow_pickle=False)
    if images.shape != shape or labels.shape != shape[:1]:
        raise ConfigError(f"{image_file} does not hold {shape}; remove it to have it made again")
    return images, labels, dict(json.loads(bad_file.read_text())) if bad_file.exists() else {}


def _room(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """Makes `file` with room for images of `shape`: a full disk is met here, not in a mapped page.

    Raises: ConfigError if there is none.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        packed = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with file.open("r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, packed.offset + packed.nbytes)
    except OSError as error:
        if file.exists():
            file.unlink()
        raise ConfigError(
            f"{file.parent} (in $SAGAN_CACHE, else ~/.cache/sagan) cannot take "
            f"{math.prod(shape):,} bytes of decoded images: {error.strerror}"
        ) from error
    return packed


def _fill(source: Source, images: np.ndarray, labels: np.ndarray, tolerant: bool) -> dict[int, str]:
    """Reads every image; an unreadable one becomes the next readable, if that is `tolerant`."""
    bad = {}
    progress = Progress("reading", len(source), enabled=len(source) > _SMALL)
    for index in range(len(source)):
        try:
            example = source[index]
            images[index], labels[index] = example["image"], example["label"]
        except BadImage as error:
            if not tolerant:
                raise
            bad[index] = str(error)
        if index % _CHUNK == 0:
            progress.update(index)
    progress.update(len(source))
    progress.close()
    unreadable.require_few(bad, len(source))
    for index in bad:
        place = index
        while place in bad:
            place = (place + 1) % len(source)
        images[index], labels[index] = images[place], labels[place]
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
