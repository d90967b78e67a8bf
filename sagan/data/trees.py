"""The files below a folder or in a zip, without what operating systems leave there.

Ignored everywhere: names that begin with a dot (`.DS_Store`, `._photo.png`), `__MACOSX`,
`Thumbs.db`, `desktop.ini` and the like. In a folder, symbolic links are followed. A zip is read in
place, like the folder that was zipped: if all its files lie in one top folder, that is skipped.
"""

import errno
import io
import os
import stat
import zipfile
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from sagan.config import ConfigError
from sagan.files import images

_IGNORED = {
    "__macosx",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}  # in lower case
_UTF8_NAME = 0x800  # flag of a zip's member
_ENCRYPTED = 0x1


class Entry(NamedTuple):
    """A file: path below the root, size in bytes, and a number that changes with its content."""

    path: str
    size: int
    stamp: int


@runtime_checkable
class Tree(Protocol):
    """Files that are read by their path below `root`."""

    root: Path

    def entries(self) -> list[Entry]:
        """Lists all files, in no order."""
        ...

    def open(self, path: str) -> io.BufferedIOBase:
        """Opens a file. Raises: ConfigError, or BadImage if it is too large for an image."""
        ...

    def name(self, path: str) -> str:
        """Returns the name by which messages mention a file: with the folder or zip before it."""
        ...


def open_tree(root: Path, called: str) -> Tree:
    """Opens a folder or a zip. Errors mention it as `called`.

    Raises: ConfigError if it is neither, or cannot be read.
    """
    try:
        if root.is_dir():
            return _Folder(root)
        if root.is_file() and zipfile.is_zipfile(root):
            return _Zip(root)
    except OSError as error:
        raise ConfigError(f"{called}: cannot be read ({error.strerror})") from error
    except (zipfile.BadZipFile, ValueError) as error:
        raise ConfigError(f"{called}: a damaged zip ({error})") from error
    raise ConfigError(f"{called} is neither a folder nor a zip")


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _IGNORED


class _Folder:
    def __init__(self, root: Path):
        self.root = root

    def entries(self) -> list[Entry]:
        """Raises: ConfigError for a link that leads nowhere or back to a folder above it."""
        found = []
        above = tuple(_identity(os.stat(p)) for p in (self.root, *self.root.resolve().parents))
        folders = [(os.fspath(self.root), "", above)]
        while folders:
            folder, prefix, above = folders.pop()
            try:
                with os.scandir(folder) as inside:
                    for entry in inside:
                        if _is_ignored(entry.name):
                            continue
                        status = _status(entry)
                        path = prefix + entry.name
                        if not stat.S_ISDIR(status.st_mode):
                            found.append(Entry(path, status.st_size, status.st_mtime_ns))
                            continue
                        me = _identity(status)
                        if me in above:
                            raise ConfigError(f"{entry.path}: a link to a folder that contains it")
                        folders.append((entry.path, path + "/", (*above, me)))
            except OSError as error:
                raise ConfigError(f"{folder}: cannot be read ({error.strerror})") from error
        return found

    def open(self, path: str) -> io.BufferedIOBase:
        return images.open_file(self.root / path)

    def name(self, path: str) -> str:
        return str(self.root / path)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _status(entry: "os.DirEntry[str]") -> os.stat_result:
    try:
        return entry.stat()
    except OSError as error:
        if entry.is_symlink() and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            target = os.readlink(entry.path)
            raise ConfigError(f"{entry.path}: a link to {target}, which does not exist") from error
        raise


class _Zip:
    """A zip, read in place.

    Raises: ConfigError if a member's name leads outside the zip or occurs twice, or if a member is
      a link or encrypted.
    """

    def __init__(self, root: Path):
        self.root = root
        self._archive, self._process = zipfile.ZipFile(root), os.getpid()
        self._members: dict[str, str] = {}  # name in the archive, by cleaned name
        for info in self._archive.infolist():
            name = _member_name(info)
            if name.endswith("/"):
                continue
            self._require_plain(info, name)
            if any(map(_is_ignored, name.split("/"))):
                continue
            if name in self._members:
                raise ConfigError(f"{root}: holds {name} twice")
            self._members[name] = info.filename
        self._prefix = _common_folder(list(self._members))

    def _require_plain(self, info: zipfile.ZipInfo, name: str) -> None:
        if {"", ".."} & set(name.split("/")):
            raise ConfigError(f"{self.root}: {name!r} does not name a file inside the zip")
        if info.flag_bits & _ENCRYPTED:
            raise ConfigError(f"{self.root}: {name} is encrypted")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ConfigError(f"{self.root}: {name} is a link, which is not followed in a zip")

    def entries(self) -> list[Entry]:
        begin = len(self._prefix)
        infos = ((name, self._archive.getinfo(there)) for name, there in self._members.items())
        return [Entry(name[begin:], info.file_size, info.CRC) for name, info in infos]

    def open(self, path: str) -> io.BufferedIOBase:
        if self._process != os.getpid():  # a forked process would share the position in the file
            self._archive, self._process = zipfile.ZipFile(self.root), os.getpid()
        return self._archive.open(self._members[self._prefix + path])  # type: ignore[return-value]

    def name(self, path: str) -> str:
        return f"{self.root}/{self._prefix}{path}"


def _member_name(info: zipfile.ZipInfo) -> str:
    """Returns a member's path with `/`; some programs write UTF-8 without saying so."""
    name = info.filename
    if not info.flag_bits & _UTF8_NAME:
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            pass
    return name.replace("\\", "/").removeprefix("./")


def _common_folder(names: list[str]) -> str:
    """Returns the folders in which all files lie, such as `images/`; empty if there are none."""
    shared = os.path.commonprefix(names)
    return shared[: shared.rfind("/") + 1]
