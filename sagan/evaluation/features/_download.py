"""Finds the official file of weights: in the cache folder, or once from its address."""

import hashlib
import re
import urllib.request
from pathlib import Path

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.files.atomic import replacing
from sagan.files.cache import folder
from sagan.files.hashing import file_sha256

NAME = "pt_inception-2015-12-05-6726825d.pth"
# Google's weights as pytorch-fid publishes them; torch-fidelity's file has the same digest.
ADDRESS = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{NAME}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

_CHUNK_BYTES = 1 << 20
_LIMIT_BYTES = 1 << 28  # the file has 95 628 359


def official() -> Path:
    """Returns the cached file, downloading it first if need be.

    Raises: ConfigError if the cached file is damaged, or the file cannot be had.
    """
    path = folder() / NAME
    if not path.exists():
        _download(path)
    digest = file_sha256(path)
    require(
        digest == SHA256,
        f"{path}: sha256 {digest}, but {SHA256} is right; damaged: delete it and run again",
    )
    return path


def check_name(path: Path) -> None:
    """Checks a file against the start of its sha256 in its name, as in `name-6726825d.pth`.

    Raises: ConfigError if they differ.
    """
    named = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if named and path.is_file():
        digest = file_sha256(path)
        require(
            digest.startswith(named[1]),
            f"weights {str(path)!r}: sha256 {digest} does not begin with {named[1]}, as its name "
            "says; damaged or truncated",
        )


def _download(path: Path) -> None:
    digest, size = hashlib.sha256(), 0
    try:
        with (
            replacing(path) as file,
            urllib.request.urlopen(ADDRESS, timeout=60) as response,
        ):
            while chunk := response.read(_CHUNK_BYTES):
                size += len(chunk)
                require(size <= _LIMIT_BYTES, f"{ADDRESS}: more than {_LIMIT_BYTES} bytes; refused")
                digest.update(chunk)
                file.write(chunk)
            require(
                digest.hexdigest() == SHA256,
                f"{ADDRESS}: {size} bytes of sha256 {digest.hexdigest()} came, but {SHA256} is "
                "right; nothing was kept",
            )
    except OSError as error:
        raise ConfigError(
            f"features 'inception' need {NAME}, which is not in {path.parent} and cannot be "
            f"downloaded ({error}); fetch {ADDRESS} elsewhere and put it there, or name a .pth, "
            ".pb, .tgz or .npz by --weights"
        ) from error
