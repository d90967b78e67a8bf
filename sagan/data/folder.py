"""A folder of images: each sub-folder is a class, in alphabetical order; none means no labels.

`data.dir` may hold one folder per split (`train/`, `val/`); then `data.split` picks one. What the
files may be and what becomes of each kind: `sagan.images`.
"""

import hashlib
from pathlib import Path

from sagan.config import DataConfig
from sagan.data import Example, require_directory
from sagan.images import SUFFIXES, decode, fit
from sagan.typed import ConfigError


class Folder:
    """Images as found; cropped to the central square and resized."""

    def __init__(self, root: Path, image_size: int):
        folders = sorted(path for path in root.iterdir() if path.is_dir())
        classes = [(path, images_in(path)) for path in folders]
        self._files = [(file, n) for n, (_, files) in enumerate(classes) for file in files]
        self.class_names = tuple(path.name for path in folders)
        if not folders:
            self._files = [(file, 0) for file in images_in(root)]
            self.class_names = ("all",)
        if not self._files:
            raise ConfigError(
                f"data.dir={root}: no images; looked for {', '.join(SUFFIXES)} "
                "in it and in its sub-folders"
            )
        empty = [path.name for path, files in classes if not files]
        if empty:
            raise ConfigError(f"data.dir={root}: no images in class {', '.join(empty)}")
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
    """Raises: ConfigError if the folder, or a class in it, has no images."""
    del argument
    root = require_directory(config)
    split = root / config.split
    return Folder(split if split.is_dir() else root, image_size)


def images_in(folder: Path) -> list[Path]:
    """Lists all that is called like an image, at any depth, in order."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not path.is_dir())
