"""A folder of sampled images: how its files are called, and what an earlier call left in it."""

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.files import images
from sagan.files.atomic import replace_text

_RECORD = ".samples.json"  # hidden, so that it does not count as a file beside the images


def require_writable(folder: Path) -> None:
    """Makes a folder. Raises: ConfigError if that fails, or no file can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"--out {folder}: {error.strerror}; needed: a folder that can be written to"
        ) from error


def plain_names(class_names: Sequence[str]) -> list[str]:
    """Returns a name for each class that any file system takes, and that no other class has."""
    plain = [re.sub(r"[^\w .-]", "_", name).strip(" .") for name in class_names]
    folded = [name.casefold() for name in plain]  # some file systems do not tell cases apart
    return [
        name if name and folded.count(name.casefold()) == 1 else f"{name}_{label}"
        for label, name in enumerate(plain)
    ]


class SampleFolder:
    """Where `sagan sample` writes single images.

    A later call with another seed must not leave images of an earlier one among its own, since
    scores of the folder would then be of a mixture. So each call records what it writes.

    Args:
      by_class: write into a folder for each class, as data folders are laid out.
    """

    def __init__(self, out: Path, class_names: Sequence[str], *, by_class: bool):
        self._out, self._by_class = out, by_class
        names = plain_names(class_names)
        if not by_class:  # a file must not be called 3_000000.png after the class "3"
            width = max(map(len, names), default=0)
            names = [f"class{name.zfill(width)}" if name.isdecimal() else name for name in names]
        self._names = names

    def begin(
        self,
        labels: Int[np.ndarray, " N"] | None,
        indices: Int[np.ndarray, " N"],
        about: dict[str, Any],
        *,
        overwrite: bool,
    ) -> list[Path]:
        """Makes the folder ready and returns the path of each image.

        The same call may be repeated, such as after it was interrupted.

        Args:
          about: what the images depend on beside label and index.
          overwrite: remove what an earlier call wrote.

        Raises: ConfigError if the folder cannot be written to, or has images that are in the way.
        """
        require_writable(self._out)
        files = [self._file(n, labels, index) for n, index in enumerate(indices.tolist())]
        record = {"about": about, "files": [path.as_posix() for path in files]}
        earlier = self._read_record()
        if record != earlier:
            if overwrite and earlier is not None:
                self._remove(earlier["files"])
            self._require_no_images(overwrite, written=earlier is not None)
            replace_text(self._out / _RECORD, json.dumps(record))
        paths = [self._out / path for path in files]
        for folder in {path.parent for path in paths}:
            folder.mkdir(exist_ok=True)
        return paths

    def _file(self, number: int, labels: np.ndarray | None, index: int) -> Path:
        file = f"{index:06}.png"
        if labels is None:
            return Path(file)
        name = self._names[int(labels[number])]
        return Path(name, file) if self._by_class else Path(f"{name}_{file}")

    def _read_record(self) -> dict[str, Any] | None:
        """Returns what an earlier call recorded; None if there is nothing that can be read."""
        try:
            found = json.loads((self._out / _RECORD).read_text())
        except (OSError, ValueError):
            return None
        whole = isinstance(found, dict) and isinstance(found.get("files"), list)
        return found if whole else None

    def _remove(self, names: list[str]) -> None:
        """Removes files of an earlier call, and folders that are empty then."""
        top = self._out.resolve()
        paths = [self._out / str(name) for name in names]
        for path in paths:
            inside = path.resolve().is_relative_to(top) and path.suffix == ".png"
            if inside and path.is_file() and not path.is_symlink():
                path.unlink()
        for folder in {path.parent for path in paths} - {self._out}:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _require_no_images(self, overwrite: bool, *, written: bool) -> None:
        there = (path for path in self._out.rglob("*") if path.suffix.lower() in images.SUFFIXES)
        first = next(there, None)
        if first is None:
            return
        mixed = f"--out {self._out} has images already, such as {first.relative_to(self._out)}"
        hint = "another folder, or with --overwrite this one, whose images are then removed"
        if overwrite or not written:
            hint = "another folder, since these were not written by sagan sample"
        require(False, f"{mixed}; allowed: {hint}")
