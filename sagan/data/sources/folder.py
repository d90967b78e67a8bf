"""A folder of images: each sub-folder is a class, in alphabetical order.

Without sub-folders the images have no labels. `data.dir` may hold one folder per split (`train/`,
`val/`), from which `data.split` picks one; without `train/`, the split `train` is the whole folder.
Hidden and empty sub-folders are ignored. `sagan.files.images` lists which files can be read and
what becomes of each kind.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from sagan.config import ConfigError, DataConfig
from sagan.data import Example, require_directory, unknown_split
from sagan.files.images import SUFFIXES, decode, fit


class Folder:
    """The images of a folder, each cropped to its central square and resized."""

    def __init__(self, root: Path, image_size: int):
        classes = classes_of(root, "data.dir=")
        self._files = [(file, n) for n, files in enumerate(classes.values()) for file in files]
        self.class_names = tuple(classes)
        self._size = image_size
        listing = hashlib.sha256(str(image_size).encode())
        for file, label in self._files:
            # A broken link is reported when it is read.
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
    """Opens `data.dir/SPLIT`, or all of `data.dir` for the split `train` if it has no such folder.

    Raises: ConfigError for a missing split, no images, or a class folder with other files alone.
    """
    del argument
    root = require_directory(config)
    split = root / config.split
    if split.is_dir():
        return Folder(split, image_size)
    # Only the default split may stand for the whole folder.
    if config.split != DataConfig.split:
        raise unknown_split(config.split, f"folder {root}", [p.name for p in _folders(root)])
    return Folder(root, image_size)


def classes_of(root: Path, called: str = "") -> dict[str, list[Path]]:
    """Returns the files of each class, or a single class `all` if no sub-folder has images.

    Args:
      called: text put before the folder's name in errors, such as `data.dir=`.

    Raises: ConfigError if there are no images, a class is empty, or images lie beside classes.
    """
    above = _images(root.iterdir())
    classes = {path.name: images_in(path) for path in _folders(root)}
    if above and any(classes.values()):
        raise ConfigError(
            f"{called}{root} has both images ({above[0].name}) and folders of images; "
            "allowed: one of the two"
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
    """Lists the files named like images at any depth outside hidden folders, in order."""
    return _images(
        path
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts[:-1])
    )


def _images(paths: Iterable[Path]) -> list[Path]:
    found = (path for path in paths if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not path.is_dir())


def _folders(root: Path) -> list[Path]:
    """Lists the sub-folders that are neither hidden nor empty."""
    folders = (path for path in root.iterdir() if path.is_dir())
    return sorted(path for path in folders if path.name[0] != "." and any(path.iterdir()))
