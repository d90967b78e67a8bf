"""References in files: states kept in the cache folder, and references saved as one `.npz`.

A cached state is stored under a hash of everything that it depends on. Each file also contains
these facts, and is used only if they match.
"""

import hashlib
import json
import logging
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.evaluation import peer_statistics
from sagan.evaluation.features import Extractor
from sagan.evaluation.metrics import Metric, State
from sagan.files import cache
from sagan.files.atomic import replacing

FORMAT = 2  # to be raised when files, or what the states mean, change
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Contents(NamedTuple):
    """Identifies a set of images, whichever process read which part of it."""

    digest: np.ndarray  # (32,) uint8: XOR of the images' SHA-256, each with position and class
    class_counts: np.ndarray  # (K,) int64; empty without classes


class Reference(NamedTuple):
    """The features of the real images, as metrics need them.

    Attributes:
      num_images, image_size: None if they are not known, as of statistics by other programs.
      states: by `Metric.state_name`.
    """

    name: str
    sha256: str  # of the contents
    num_images: int | None
    image_size: int | None  # px
    class_names: tuple[str, ...]
    class_counts: np.ndarray
    states: Mapping[str, State]


class Cache:
    """The cached states of one set of images under one network.

    Args:
      key: everything that they depend on, as JSON values.
    """

    def __init__(self, key: Mapping[str, Any]):
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        self._key, self._folder = key, cache.folder() / "reference" / digest

    def read(self, kinds: Mapping[str, type]) -> dict[str, State]:
        """Returns the states, of these types by name, that are cached and undamaged."""
        found = {name: self._read_one(name, kind) for name, kind in kinds.items()}
        return {name: state for name, state in found.items() if state is not None}

    def _read_one(self, name: str, kind: Any) -> State | None:
        path = self._folder / f"{name}.npz"
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if json.loads(str(file["about"])) != self._key:
                    return None
                return kind(*(file[f"{name}.{field}"] for field in kind._fields))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except _DAMAGE as error:
            print(f"sagan: {path} is damaged and is computed again ({error})", file=sys.stderr)
            return None

    def write(self, states: Mapping[str, State]) -> None:
        """Stores states. A cache that cannot be written is only logged: scores do not need it."""
        try:
            for name, state in states.items():
                _write(self._folder / f"{name}.npz", self._key, {name: state})
        except OSError as error:
            logging.warning("the reference cannot be cached and will be computed again: %s", error)


def _write(path: Path, about: Mapping[str, Any], states: Mapping[str, State]) -> None:
    arrays = {f"{n}.{f}": a for n, s in states.items() for f, a in s._asdict().items()}
    with replacing(path) as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)


def save(path: Path, reference: Reference, extractor: Extractor) -> None:
    """Writes a reference to one file, which `load` and `--reference FILE.npz` read."""
    about = {
        "format": FORMAT,
        "name": reference.name,
        "sha256": reference.sha256,
        "num_images": reference.num_images,
        "image_size": reference.image_size,
        "class_names": list(reference.class_names),
        "fingerprint": extractor.fingerprint,
    }
    digest = np.frombuffer(bytes.fromhex(reference.sha256), np.uint8)
    contents = Contents(digest, reference.class_counts)
    _write(path, about, {**reference.states, "contents": contents})


def load(path: Path, metrics: Sequence[Metric], extractor: Extractor) -> Reference:
    """Reads a saved reference, or statistics of pytorch-fid.

    Raises: ConfigError if the file was not made by `save` nor by pytorch-fid, if it is of another
      network, other weights or another resizer, or if it lacks a state that a metric needs.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if peer_statistics.are_in(file):
                return _of_peer(path, file, metrics, extractor)
            about = json.loads(str(file["about"]))
            _require_fit(path, about, extractor)
            wanted = {m.state_name: m for m in metrics if m.uses_real}
            states = {name: _saved_state(path, file, metric) for name, metric in wanted.items()}
            counts = file["contents.class_counts"]
    except _DAMAGE as error:
        raise ConfigError(f"{path}: not statistics of `sagan reference` ({error})") from error
    return Reference(
        name=about["name"],
        sha256=about["sha256"],
        num_images=about["num_images"],
        image_size=about["image_size"],
        class_names=tuple(about["class_names"]),
        class_counts=counts,
        states=states,
    )


def _of_peer(
    path: Path, file: Mapping[str, Any], metrics: Sequence[Metric], extractor: Extractor
) -> Reference:
    states, digest = peer_statistics.states(path, file, metrics, extractor)
    return Reference(
        name=f"statistics:{path.name}",
        sha256=digest,
        num_images=None,
        image_size=None,
        class_names=(),
        class_counts=np.zeros(0, np.int64),
        states=states,
    )


def _require_fit(path: Path, about: Mapping[str, Any], extractor: Extractor) -> None:
    require(
        about.get("format") == FORMAT,
        f"{path}: format {about.get('format')!r}, needed: {FORMAT}; make it again with "
        "`sagan reference`",
    )
    held = about["fingerprint"]
    wrong = [
        f"{field}: {held.get(field)!r}, asked for {value!r}"
        for field, value in extractor.fingerprint.items()
        if held.get(field) != value
    ]
    require(not wrong, f"{path} holds other features than asked for: {'; '.join(wrong)}")


def _saved_state(path: Path, file: Any, metric: Metric) -> State:
    kind: Any = metric.accumulator.state
    fields = [f"{metric.state_name}.{field}" for field in kind._fields]
    require(
        all(field in file for field in fields),
        f"{path} lacks what metric {metric.name} needs; make it again with "
        f"`sagan reference --metrics ...,{metric.name}`",
    )
    return kind(*(file[field] for field in fields))
