"""Folders and files that the user names."""

import os
import re
from pathlib import Path

from sagan.config import ConfigError

# `pathlib` makes `gs:/bucket` of `gs://bucket`. One letter is a drive of Windows.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def local(text: str | os.PathLike[str], called: str = "") -> Path:
    """Returns a path, with `~` replaced by the home folder.

    Args:
      called: text before the path in the error, such as `data.dir=`.

    Raises: ConfigError for a URL such as `gs://bucket/run`, which would become a folder `gs:` here.
    """
    if _URL.match(os.fspath(text)):
        raise ConfigError(
            f"{called}{text} is a URL; needed: a path of a file system. Mount the bucket first "
            "(gcsfuse, s3fs, rclone mount), and give the path in the folder where it is mounted"
        )
    return Path(text).expanduser()
