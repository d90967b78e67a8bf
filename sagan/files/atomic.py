"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file, which replaces `path` when the block ends without an error.

    Several processes may write the same path at once: the last one wins. Other users may read the
    file as far as the umask allows, so that a cache can be shared.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def replace_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all; see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())


def temporary_path(path: Path) -> Path:
    """Returns a new hidden name beside `path`, for a file that is to replace it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")
