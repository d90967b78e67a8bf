"""Images of a folder or a zip, `data.dir`: each sub-folder is a class.

`sagan.data.listing` decides which images are used and what their classes are. `sagan.files.images`
converts each kind of file to RGB. Its `fit` makes images square as `data.fit` says, and resizes.
"""

import functools
import hashlib

import numpy as np
from PIL import Image

from sagan.config import ConfigError, DataConfig
from sagan.data import contents, listing
from sagan.data.listing import Listing
from sagan.data.stored import Stored
from sagan.files import images, places
from sagan.files.images import Fit

_PROBED = 8  # number of images whose range of 16-bit values is checked
_NARROW = 16  # a warning if the upper bytes of such images span fewer than this of 256 values


class Folder(Stored):
    """Listed images, each made square and resized."""

    def __init__(self, listed: Listing, image_size: int, fit: Fit = "crop"):
        super().__init__(image_size, fit)
        self._listed = listed
        self.class_names, self.held_out = listed.class_names, listed.held_out
        content = hashlib.sha256(f"{image_size} {fit} {listed.class_names}".encode())
        for entry in zip(listed.paths, listed.labels, listed.stamps, strict=True):
            content.update(repr(entry).encode())
        self.key = f"folder-{content.hexdigest()[:24]}"

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences to print: those of the listing, and a warning if 16-bit images are too flat."""
        return (*self._listed.notes, *self._flat())

    @functools.cached_property
    def contents(self) -> dict[str, str]:
        """The images of each class; see `sagan.data.contents`."""
        rows = zip(self._listed.labels, self._listed.paths, self._listed.stamps, strict=True)
        return contents.listed((self.class_names[n], path, size) for n, path, (size, _) in rows)

    def __len__(self) -> int:
        return len(self._listed.paths)

    def stored(self, index: int) -> tuple[Image.Image, int]:
        tree, path = self._listed.tree, self._listed.paths[index]
        image = images.decode_from(lambda: tree.open(path), tree.name(path))
        return image, self._listed.labels[index]

    def _flat(self) -> list[str]:
        """Returns a note if 16-bit images use a small part of their range; checks a few of them."""
        tree, found = self._listed.tree, []
        for index in np.unique(np.linspace(0, len(self) - 1, _PROBED).astype(int)):
            path = self._listed.paths[index]
            try:
                span = images.range_of_16_bits(functools.partial(tree.open, path), tree.name(path))
            except ConfigError:
                continue  # the error is reported when the image is read
            if span is not None:
                found.append((path, *span))
        if not found or max(high for *_, high in found) - min(s[1] for s in found) >= _NARROW:
            return []
        path, low, high = found[0]
        return [
            f"{tree.name(path)}: a 16-bit image that uses {low * 256} to {high * 256 + 255} of "
            "65535. It becomes almost uniformly grey; scale such images to the whole range first"
        ]


def load(config: DataConfig, image_size: int, argument: str) -> Folder:
    """Opens a split of `data.dir`. Raises: ConfigError as `listing.scan`."""
    del argument
    if config.dir is None:
        raise ConfigError(f"data.name={config.name} needs data.dir=FOLDER, or a zip")
    root = places.local(config.dir, "data.dir=")
    listed = listing.scan(root, config.split, "data.dir=")
    return Folder(listed, image_size, config.fit)
