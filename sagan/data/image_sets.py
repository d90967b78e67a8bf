"""Images to score or to compare with: a data source, a part of one, a folder or a zip.

A file that cannot be read is an error that names it, since a score must be of exactly the images
that it claims. (Training replaces up to one image in a thousand; see `unreadable.py`.)
"""

import copy
import functools
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sagan import data
from sagan.config import ConfigError, DataConfig
from sagan.config.fields import require
from sagan.data import Example, Source, listing
from sagan.data.decoded import arrays
from sagan.data.listing import Listing
from sagan.data.sources.folder import Folder
from sagan.files.images import Fit, stored_size

_SUBSET_SEED = 0
_MOST_CLASSES = 1_000_000  # larger numbers are something else than classes


class FromSource:
    """Images of a data source, or a part of them.

    Attributes:
      image_size: height and width in pixels.
      name: the set's name in messages and in the protocols of scores.
      key: names the content in caches; it changes whenever the content does.
      num_classes: None if there are no labels.
      held_out: name of the split that these images are held against; None if there is none.
    """

    def __init__(
        self, source: Source, image_size: int, name: str, chosen: np.ndarray | None = None
    ):
        self._source, self._chosen = source, chosen
        self.image_size, self.name = image_size, name
        self.class_names = source.class_names
        self.held_out: str | None = getattr(source, "held_out", None)
        self.num_classes = len(source.class_names) if len(source.class_names) > 1 else None
        part = "" if chosen is None else f" {len(chosen)} of {len(source)}"
        self.key = source.key + part
        self._label_of = np.arange(len(source.class_names))

    def __len__(self) -> int:
        return len(self._source) if self._chosen is None else len(self._chosen)

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads the images at `indices`, uint8 (N, S, S, 3), and their classes (N,).

        The classes are None if the images have none.
        """
        chosen = indices if self._chosen is None else self._chosen[indices]
        pixels, labels = data.read(self._source, chosen)
        return pixels, self._label_of[labels] if self.num_classes else None

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Reads the whole source: uint8 (N, S, S, 3) and int32 (N,)."""
        return arrays(self._source, self.image_size)

    def part(self, num_images: int | None) -> "FromSource":
        """Returns `num_images` of the images, always the same ones; None: all.

        Raises: ConfigError if there are fewer.
        """
        total = len(self._source)
        if num_images is None or num_images == total:
            return self
        require(num_images <= total, f"{self.name} has {total} images, fewer than {num_images}")
        chosen = np.sort(np.random.default_rng(_SUBSET_SEED).permutation(total)[:num_images])
        found = copy.copy(self)  # with its numbers of classes
        found._chosen, found.key = chosen, f"{self.key} {num_images} of {total}"
        return found

    def with_classes(self, class_names: Sequence[str]) -> "FromSource":
        """Returns the same images with labels that index `class_names`.

        Raises: ConfigError if a class of theirs is not among `class_names`.
        """
        if self.class_names == tuple(class_names):
            return self
        unknown = [name for name in self.class_names if name not in class_names]
        require(
            not unknown,
            f"{self.name}: class {', '.join(unknown)} is not one of the reference's: "
            f"{', '.join(class_names)}",
        )
        renumbered = FromSource(self._source, self.image_size, self.name, self._chosen)
        renumbered._label_of = np.array([list(class_names).index(n) for n in self.class_names])
        renumbered.num_classes = len(class_names)
        renumbered.class_names = tuple(class_names)
        renumbered.key = f"{self.key} as {', '.join(class_names)}"
        return renumbered


def from_array(images: Any, labels: Any = None, name: str = "array") -> FromSource:
    """Returns images that are held in an array.

    Args:
      labels: whole numbers (N,) from 0 to a million; None: there are none.
      name: of the set.

    Raises: ConfigError unless they are uint8 (N, S, S, 3), N at least 1, with as many labels.
    """
    pixels = np.asarray(images)
    require(
        pixels.dtype == np.uint8
        and pixels.ndim == 4
        and len(pixels) > 0
        and pixels.shape[1] == pixels.shape[2]
        and pixels.shape[3] == 3,
        f"images are {pixels.dtype} of shape {pixels.shape}; allowed: uint8 (N, S, S, 3)",
    )
    known = None if labels is None else np.asarray(labels)
    if known is not None:
        fits = known.dtype.kind in "iu" and known.shape == pixels.shape[:1]
        require(
            fits and 0 <= int(known.min()) and int(known.max()) < _MOST_CLASSES,
            f"labels are {known.dtype} of shape {known.shape}; allowed: whole numbers of shape "
            f"({len(pixels)},), from 0 to {_MOST_CLASSES - 1}",
        )
    return FromSource(_Held(pixels, known), pixels.shape[1], name)


def open_npz(path: Path, image_size: int | None) -> FromSource:
    """Opens the images of an `.npz`: `arr_0`, uint8 (N, S, S, 3), and labels `arr_1`, if any.

    This is the layout of `sagan sample --npz` and of guided-diffusion. Classes are called by their
    numbers.

    Raises: ConfigError if it is damaged or has no such images, or if they are not of `image_size`.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            require(
                "arr_0" in arrays.files,
                f"{path} holds {', '.join(arrays.files)}; allowed: images in arr_0",
            )
            pixels = arrays["arr_0"]
            labels = arrays["arr_1"] if "arr_1" in arrays.files else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: damaged, or not an .npz: {error}") from error
    found = from_array(pixels, labels, f"npz:{path.name}")
    require(
        image_size in (None, found.image_size),
        f"{path} holds images of {found.image_size} px; needed: {image_size} px",
    )
    return found


def _bytes_of(images: np.ndarray) -> memoryview:
    """Returns the bytes of an array, which is not copied if it is contiguous."""
    return np.ascontiguousarray(images).reshape(-1).data


class _Held:
    """A source whose images are in memory."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None):
        digest = hashlib.sha256(_bytes_of(images))
        self.class_names: tuple[str, ...] = ("all",)
        self._images, self._labels = images, labels
        if labels is not None:
            digest.update(_bytes_of(labels.astype(np.int64)))
            self.class_names = tuple(map(str, range(int(labels.max()) + 1)))
        self.key = f"array-{digest.hexdigest()[:24]}"

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Example:
        label = 0 if self._labels is None else int(self._labels[index])
        return {"image": self._images[index], "label": label}


def open_folder(
    root: Path,
    image_size: int | None,
    *,
    split: str | None = None,
    fit: Fit = "crop",
) -> FromSource:
    """Opens a folder or a zip of images, by the same rule as training (`sagan.data.listing`).

    Args:
      image_size: make each image square by `fit` and resize it (Lanczos) if it differs. None: keep
        the images as they are; all must be square and of one size.
      split: None: the split that training uses.

    Raises: ConfigError if there are no images, one is unreadable, or sizes differ.
    """
    listed = listing.scan(root, split or DataConfig.split)
    size = _only_size(listed) if image_size is None else image_size
    source = Folder(listed, size, fit)
    data.tell(source)
    name = f"folder:{root.resolve().name}" + (f":{split}" if split else "")
    return FromSource(source, size, name)


def _only_size(listed: Listing) -> int:
    """Returns the size of all images, from their headers.

    Raises: ConfigError unless they are square and of one size.
    """
    first = None
    for path in listed.paths:
        name = listed.tree.name(path)
        size = stored_size(functools.partial(listed.tree.open, path), name)
        first = first or (name, size)
        if size != first[1] or size[0] != size[1]:
            raise ConfigError(
                f"{name} is {size[0]}x{size[1]}, {first[0]} {first[1][0]}x{first[1][1]} pixels; "
                "needed: square images of one size, or --image-size N to resize each"
            )
    assert first is not None
    return first[1][0]
