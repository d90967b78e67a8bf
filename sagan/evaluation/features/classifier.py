"""A small classifier of the dataset at hand: scores for data that Inception knows nothing of.

    load(images=uint8 (N, H, W, 3), labels=int (N,), num_classes=None, seed=0) -> Extractor

trains one in seconds (digits) to minutes (CIFAR-10, on an accelerator), or finds it in the cache
folder. Outputs: `classifier_pool`, 64 rectified features before the last layer, and
`classifier_logits`. Scores on these compare checkpoints under one classifier, and nothing else.
"""

import functools
import hashlib
import io
import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils
from jaxtyping import Array, Integer, UInt8

from sagan.config.fields import require
from sagan.evaluation.features import _small_cnn
from sagan.files.atomic import replacing
from sagan.files.cache import folder
from sagan.parallel.spread import Spread, check_call

NAME = "classifier"
_HELD_OUT = 10  # one image in ten is not trained on


class ClassifierExtractor:
    """A classifier of one dataset at one size; see `sagan.evaluation.features.Extractor`.

    Attributes:
      accuracy: share of right answers on the tenth of the images that it was not trained on.
    """

    def __init__(
        self,
        params: dict,
        accuracy: float,
        forward: Callable,
        fingerprint: dict[str, str],
        widths: Mapping[str, int],
        size: tuple[int, int],
        batch_size: int | None,
    ):
        self.name = NAME
        self.accuracy = accuracy
        self.fingerprint = fingerprint
        self.widths = widths
        self.missing: Mapping[str, str] = {}
        self._size = size
        self._spread = Spread(_unchanged, forward, params, batch_size)

    def __call__(self, images: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        check_call(images, outputs, self.widths, self.missing)
        if images.shape[1:3] != self._size:
            raise ValueError(f"images are {images.shape[1:3]}; this classifier's are {self._size}")
        return self._spread(images, outputs)


def load(
    *,
    images: UInt8[np.ndarray, "N H W 3"],
    labels: Integer[np.ndarray, " N"],
    num_classes: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> ClassifierExtractor:
    """Trains a classifier of `images`, or loads the one trained on just these before.

    With several processes all of them call this, and all get process 0's weights.

    Args:
      num_classes: None: the largest label + 1.
      seed: of initial weights, order and shifts.
      batch_size: most images at a time when called, over all local devices; None: 64 a device.

    Raises: ConfigError if there are no two classes, or labels outside [0, num_classes).
    """
    labels = np.asarray(labels, np.int32)
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    require(
        classes >= 2 and len(np.unique(labels)) >= 2,
        "features 'classifier' need labels of 2 or more classes; this dataset has not",
    )
    require(
        0 <= int(labels.min()) and int(labels.max()) < classes,
        f"labels range over [{labels.min()}, {labels.max()}]; allowed: [0, {classes})",
    )
    network = _small_cnn.SmallCnn(classes, _small_cnn.recipe(len(images), min(images.shape[1:3])))
    data_sha256 = _data_sha256(images, labels)
    params, accuracy = _trained(images, labels, network, seed, data_sha256)
    if jax.process_count() > 1:
        params, accuracy = multihost_utils.broadcast_one_to_all((params, np.float64(accuracy)))
    fingerprint = {
        "features": NAME,
        "weights_sha256": _weights_sha256(params),
        "data_sha256": data_sha256,
        "recipe": f"{_small_cnn.RECIPE_VERSION}, seed {seed}",
        "image_size": f"{images.shape[1]}x{images.shape[2]}",
    }
    widths = {"classifier_pool": _small_cnn.POOL_WIDTH, "classifier_logits": classes}
    size = (images.shape[1], images.shape[2])
    return ClassifierExtractor(
        params,
        float(accuracy),
        _forward(network.num_classes, network.plan),
        fingerprint,
        widths,
        size,
        batch_size,
    )


def _trained(
    images: np.ndarray,
    labels: np.ndarray,
    network: _small_cnn.SmallCnn,
    seed: int,
    data_sha256: str,
) -> tuple[dict, float]:
    """Reads from the cache, or trains and writes there."""
    key = f"{data_sha256} {network.num_classes} {network.plan} {seed} {_small_cnn.RECIPE_VERSION}"
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = folder() / f"{NAME}-{images.shape[1]}px-{name}.npz"
    found = _read(path)
    if found is not None:
        return found
    held_out = np.random.default_rng(seed).permutation(len(images)) < len(images) // _HELD_OUT
    params = _small_cnn.train(images[~held_out], labels[~held_out], network, seed)
    accuracy = _accuracy(params, images[held_out], labels[held_out], network)
    _write(path, params, accuracy)
    return params, accuracy


def _accuracy(
    params: dict, images: np.ndarray, labels: np.ndarray, network: _small_cnn.SmallCnn
) -> float:
    if not len(images):
        return float("nan")
    spread = Spread(_unchanged, _forward(network.num_classes, network.plan), params)
    logits = spread(images, ["classifier_logits"])["classifier_logits"]
    return float((logits.argmax(1) == labels).mean())


def _unchanged(images: Array) -> Array:
    return images


@functools.cache
def _forward(num_classes: int, plan: _small_cnn.Recipe) -> Callable:
    network = _small_cnn.SmallCnn(num_classes, plan)

    def forward(params: dict, images: Array, outputs: tuple[str, ...]) -> dict[str, Array]:
        found = _small_cnn.outputs(network, params, images)
        return {name: found[name] for name in outputs}

    return forward


def _read(path: Path) -> tuple[dict, float] | None:
    """Reads a cached classifier; None if there is none, or the file is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
        accuracy = float(found.pop("accuracy"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return unflatten_dict(found, sep="/"), accuracy


def _write(path: Path, params: dict, accuracy: float) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"accuracy": np.float64(accuracy), **_flat(params)}
    np.savez(buffer, **arrays)
    try:
        with replacing(path) as file:
            file.write(buffer.getvalue())
    except OSError as error:
        logging.warning("classifier not cached, so it is trained again next time: %s", error)


def _flat(params: dict) -> dict[str, np.ndarray]:
    return {str(key): np.asarray(value) for key, value in flatten_dict(params, sep="/").items()}


def _data_sha256(images: np.ndarray, labels: np.ndarray) -> str:
    return _sha256({"images": images, "labels": labels.astype("<i4")})


def _weights_sha256(params: dict) -> str:
    return _sha256(_flat(params))


def _sha256(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
