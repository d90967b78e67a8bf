"""A folder of images: each sub-folder is a class, in alphabetical order; none means no labels.

`data.dir` may hold one folder per split (`train/`, `val/`); then `data.split` picks one. Without
`train/`, that split is the whole folder. Hidden and empty sub-folders do not count. What the files
may be and what becomes of each kind: `sagan.files.images`.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from sagan.config import ConfigError, DataConfig
from sagan.data import Example, require_directory
from sagan.files.images import SUFFIXES, decode, fit


class Folder:
    """Images as found; cropped to the central square and resized."""

    def __init__(self, root: Path, image_size: int):
        classes = classes_of(root, "data.dir=")
        self._files = [(file, n) for n, files in enumerate(classes.values()) for file in files]
        self.class_names = tuple(classes)
        self._size = image_size
        listing = hashlib.sha256(str(image_size).encode())
        for file, label in self._files:
            # A link to nowhere is named when it is read.
            status = file.stat() if file.exists() else file.lstat()
            entry = (str(file.relative_to(root)), label, status.st_size, status.st_mtime_ns)
            listing.update(repr(entry).encode())
        self.key = f"folder-{listing.hexdigest()[:24]}"

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        file, label = self._files[index]
        return {"image": fit(decode(file), self._size), "label": label}


def load(config: DataConfig, image_size: int, argument: str) -> Folder:
    """Raises: ConfigError if there is no such split, or it, or a class in it, has no images."""
    del argument
    root = require_directory(config)
    split = root / config.split
    if split.is_dir():
        return Folder(split, image_size)
    # Only the default may be all there is: another split asked for is not the whole set.
    if config.split != DataConfig.split:
        has = ", ".join(path.name for path in _folders(root)) or "no sub-folders"
        raise ConfigError(f"data.split={config.split!r}; folder {root} has: {has}")
    return Folder(root, image_size)


def classes_of(root: Path, called: str = "") -> dict[str, list[Path]]:
    """Lists each class's images; a single class `all` if there are no folders of images.

    Args:
      called: what errors put before the folder, such as `data.dir=`.

    Raises: ConfigError if there are no images, none in a class, or some beside the classes.
    """
    above = _images(root.iterdir())
    classes = {path.name: images_in(path) for path in _folders(root)}
    if above and any(classes.values()):
        raise ConfigError(
            f"{called}{root} has both images ({above[0].name}) and folders of images; "
            "which is meant?"
        )
    if above:
        return {"all": above}
    if not any(classes.values()):
        raise ConfigError(
            f"{called}{root}: no images; looked for {', '.join(SUFFIXES)} "
            "in it and in its sub-folders"
        )
    without = [name for name, files in classes.items() if not files]
    if without:
        raise ConfigError(f"{called}{root}: no images in class {', '.join(without)}")
    return classes


def images_in(folder: Path) -> list[Path]:
    """Lists all that is called like an image, at any depth, in order; not in hidden folders."""
    return _images(
        path
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts[:-1])
    )


def _images(paths: Iterable[Path]) -> list[Path]:
    found = (path for path in paths if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not path.is_dir())


def _folders(root: Path) -> list[Path]:
    """Lists the sub-folders that are there for a reason: neither hidden nor empty."""
    folders = (path for path in root.iterdir() if path.is_dir())
    return sorted(path for path in folders if path.name[0] != "." and any(path.iterdir()))
