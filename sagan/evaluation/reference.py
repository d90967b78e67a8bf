"""The real side of a score: opened by name, computed once, kept in the cache folder.

A cached state is filed under everything it depends on: the source's own key, a hash of pixels and
classes read from it now, image size, number of images, and the network's fingerprint. Each file
also says so inside, and is used only if that is what was asked for.
"""

import hashlib
import json
import logging
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sagan import data
from sagan.config import ConfigError, presets
from sagan.config.fields import require
from sagan.data.image_sets import FromSource, open_folder
from sagan.evaluation import extract
from sagan.evaluation import metrics as metrics_lib
from sagan.evaluation.features import Extractor
from sagan.evaluation.metrics import Metric, Spec, State
from sagan.files import cache as cache_files
from sagan.files.atomic import replacing

_FORMAT = 1  # of the files and of what the states mean
_PROBED = 1024  # images hashed to find the cache file; all of them are hashed when it is made


class Contents(NamedTuple):
    """What a set of images is, whoever read which part of it."""

    digest: np.ndarray  # (32,) uint8: XOR of the images' SHA-256, each with position and class
    class_counts: np.ndarray  # (K,) int64; empty without classes


class Reference(NamedTuple):
    """The real side, ready to be compared with."""

    name: str
    sha256: str
    num_images: int
    image_size: int
    class_names: tuple[str, ...]
    class_counts: np.ndarray
    states: Mapping[str, State]


def open_images(
    text: str, *, overrides: Sequence[str] = (), image_size: int | None = None
) -> FromSource:
    """Opens a folder, or a split of a preset's data: `DIR`, `NAME`, `NAME:SPLIT`.

    Args:
      overrides: `section.field=value` texts for the preset, such as `data.dir=...`.
      image_size: None: the preset's, or the size of all images of the folder.

    Raises: ConfigError if it is neither, or cannot be opened.
    """
    if Path(text).expanduser().is_dir():
        return open_folder(Path(text).expanduser(), image_size)
    return _open_preset(text, overrides, image_size)


def _open_preset(text: str, overrides: Sequence[str], image_size: int | None) -> FromSource:
    name, _, split = text.partition(":")
    known = presets.preset_names()
    require(
        name in known or name.endswith(".py"),
        f"{text!r} is no folder and no preset or preset:split; presets: {', '.join(known)}",
    )
    config = presets.load(name, overrides)
    size = image_size or config.model.image_size
    source = data.load(config.data, size, split=split or None)
    return FromSource(source, size, f"{config.data.name}:{split or config.data.split}")


def training_images(text: str, overrides: Sequence[str], image_size: int) -> FromSource:
    """Opens what a classifier of a reference's data is trained on: the preset's own split.

    Raises: ConfigError if the reference is a file of statistics, which holds no images.
    """
    require(not text.endswith(".npz"), f"{text} holds no images to train a classifier on")
    if Path(text).expanduser().is_dir():
        return open_images(text, image_size=image_size)
    # Not open_images: a folder may be called like the preset.
    return _open_preset(text.partition(":")[0], overrides, image_size)


def of(
    images: FromSource,
    metrics: Sequence[Metric],
    extractor: Extractor,
    *,
    batch_size: int,
    share: extract.Share,
    cache: bool = True,
) -> Reference:
    """Gives the reference with the states these metrics need, computing what is not cached.

    Raises: ConfigError if the network does not give what a metric reads.
    """
    wanted = {metrics_lib.state_name(m): m for m in metrics if m.USES_REAL}
    extract.check_outputs(extractor, list(wanted.values()))
    key = _key(images, extractor)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    home = cache_files.folder() / "reference" / digest
    states: dict[str, State] = {}
    contents = None
    if cache:
        contents = _read_state(home / "contents.npz", key, Contents)
        for name, metric in wanted.items():
            state = _read_state(home / f"{name}.npz", key, _type_of(metric))
            if state is not None:
                states[name] = state
    found = extract.everywhere([name in states for name in wanted] + [contents is not None], share)
    absent = {n: m for (n, m), here in zip(wanted.items(), found, strict=False) if not here}
    if absent or contents is None or not found[-1]:
        computed, contents = _compute(images, absent, extractor, batch_size, share)
        states |= computed
        if cache and share.index == 0:
            _keep(home, key, {**computed, "contents": contents})
    return Reference(
        name=images.name,
        sha256=contents.digest.tobytes().hex(),
        num_images=len(images),
        image_size=images.image_size,
        class_names=images.class_names,
        class_counts=contents.class_counts,
        states=states,
    )


def _compute(
    images: FromSource,
    wanted: Mapping[str, Metric],
    extractor: Extractor,
    batch_size: int,
    share: extract.Share,
) -> tuple[dict[str, State], Contents]:
    contents = Contents(np.zeros(32, np.uint8), np.zeros(images.num_classes or 0, np.int64))

    def seen(indices: np.ndarray, pixels: np.ndarray, labels: np.ndarray | None) -> None:
        nonlocal contents
        contents = _merge_contents(contents, contents_of(indices, pixels, labels, contents))

    states = extract.fold(
        images,
        list(wanted.values()),
        extractor,
        batch_size=batch_size,
        progress=f"reference {images.name}",
        share=share,
        seen=seen,
    )
    states = {name: extract.merged(s, wanted[name].merge, share) for name, s in states.items()}
    return states, extract.merged(contents, _merge_contents, share)


def contents_of(
    indices: np.ndarray, pixels: np.ndarray, labels: np.ndarray | None, like: Contents
) -> Contents:
    """Hashes some images; parts of a set combine in any order."""
    total = np.zeros(32, np.uint8)
    for at, image, label in zip(
        indices, pixels, [-1] * len(pixels) if labels is None else labels, strict=True
    ):
        head = f"{int(at)} {int(label)} {image.shape}".encode()
        total ^= np.frombuffer(hashlib.sha256(head + image.tobytes()).digest(), np.uint8)
    counts = np.zeros_like(like.class_counts)
    if labels is not None and len(counts):
        counts += np.bincount(labels, minlength=len(counts))
    return Contents(total, counts)


def _merge_contents(a: Contents, b: Contents) -> Contents:
    return Contents(a.digest ^ b.digest, a.class_counts + b.class_counts)


def _key(images: FromSource, extractor: Extractor) -> dict[str, Any]:
    """Everything that a cached state depends on."""
    probes = np.unique(np.linspace(0, len(images) - 1, _PROBED).astype(int))
    pixels, labels = images.read(probes)
    none = Contents(np.zeros(32, np.uint8), np.zeros(0, np.int64))
    probe = contents_of(probes, pixels, labels, none)
    return {
        "format": _FORMAT,
        "source": images.key,
        "probe": probe.digest.tobytes().hex(),
        "num_images": len(images),
        "image_size": images.image_size,
        **extractor.fingerprint,
    }


def _type_of(metric: Metric) -> Callable[..., State]:
    return type(metric.init(Spec(width=1, num_images=max(metric.MIN_IMAGES, 10), num_classes=1)))


def _keep(home: Path, key: Mapping[str, Any], states: Mapping[str, State]) -> None:
    """Files states in the cache; that it cannot be written to costs time, not the score."""
    try:
        for name, state in states.items():
            _write(home / f"{name}.npz", key, {name: state})
    except OSError as error:
        logging.warning("reference not cached, so it is computed again next time: %s", error)


def _write(path: Path, about: Mapping[str, Any], states: Mapping[str, State]) -> None:
    arrays = {f"{n}.{f}": a for n, s in states.items() for f, a in s._asdict().items()}
    with replacing(path) as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)


def _read_state(path: Path, key: Mapping[str, Any], kind: Any) -> State | None:
    """Returns None if the file is not there, is damaged, or answers another question."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if json.loads(str(file["about"])) != key:
                return None
            name = path.name.removesuffix(".npz")
            return kind(*(file[f"{name}.{field}"] for field in kind._fields))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"sagan: {path} is damaged and will be made again ({error})", file=sys.stderr)
        return None


def save(path: Path, reference: Reference, extractor: Extractor) -> None:
    """Writes a reference to one file that `load` and `--reference FILE.npz` read."""
    about = {
        "format": _FORMAT,
        "name": reference.name,
        "sha256": reference.sha256,
        "num_images": reference.num_images,
        "image_size": reference.image_size,
        "class_names": list(reference.class_names),
        "fingerprint": extractor.fingerprint,
    }
    contents = Contents(np.frombuffer(bytes.fromhex(reference.sha256), np.uint8),
                        reference.class_counts)  # fmt: skip
    _write(path, about, {**reference.states, "contents": contents})


def load(path: Path, metrics: Sequence[Metric], extractor: Extractor) -> Reference:
    """Reads saved statistics.

    Raises: ConfigError if the file is not one of ours, is of another network, weights or resizer,
      or lacks what a metric needs.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            require(about.get("format") == _FORMAT, f"{path}: format {about.get('format')!r}")
            wrong = [
                f"{field}: {about['fingerprint'].get(field)!r}, asked for {value!r}"
                for field, value in extractor.fingerprint.items()
                if about["fingerprint"].get(field) != value
            ]
            require(not wrong, f"{path} holds other features than asked for: {'; '.join(wrong)}")
            states = {}
            for name, metric in {
                metrics_lib.state_name(m): m for m in metrics if m.USES_REAL
            }.items():
                kind: Any = _type_of(metric)
                fields = [f"{name}.{field}" for field in kind._fields]
                require(
                    all(field in file for field in fields),
                    f"{path} lacks what metric {metric.NAME} needs; make it again with "
                    f"`sagan reference --metrics ...,{metric.NAME}`",
                )
                states[name] = kind(*(file[field] for field in fields))
            counts = file["contents.class_counts"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: not statistics of `sagan reference` ({error})") from error
    return Reference(
        about["name"], about["sha256"], about["num_images"], about["image_size"],
        tuple(about["class_names"]), counts, states,
    )  # fmt: skip
