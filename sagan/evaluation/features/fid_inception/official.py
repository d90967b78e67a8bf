"""Finds the official file of weights in the cache folder, after one download."""

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
# Google's weights as pytorch-fid publishes them. torch-fidelity's copy has the same weights.
ADDRESS = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{NAME}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

_CHUNK_BYTES = 1 << 20
_LIMIT_BYTES = 1 << 28  # the file has 95 628 359


def find() -> Path:
    """Returns the path of the cached file, after downloading it if it is not there.

    Raises: ConfigError if the cached file is damaged, or the download fails.
    """
    path = folder() / NAME
    if not path.exists():
        _download(path)
    digest = file_sha256(path)
    require(
        digest == SHA256,
        f"{path}: sha256 {digest}, expected {SHA256}; the file is damaged: delete it and run again",
    )
    return path


def check_name(path: Path) -> None:
    """Compares a file with the beginning of a sha256 in its name, as in `name-6726825d.pth`.

    Raises: ConfigError if they differ.
    """
    named = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if named and path.is_file():
        digest = file_sha256(path)
        require(
            digest.startswith(named[1]),
            f"weights {str(path)!r}: sha256 {digest} does not begin with {named[1]}, as the name "
            "of the file says; it is damaged or truncated",
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
                f"{ADDRESS}: got {size} bytes of sha256 {digest.hexdigest()}, expected {SHA256}; "
                "nothing was kept",
            )
    except OSError as error:
        raise ConfigError(
            f"features 'inception' need {NAME}, which is not in {path.parent} and cannot be "
            f"downloaded ({error}); download {ADDRESS} elsewhere and put it there, or give a .pth, "
            ".pb, .tgz or .npz with --weights"
        ) from error
