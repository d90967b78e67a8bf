"""A small classifier that is trained on the dataset at hand, for data unlike ImageNet's.

    load(images=uint8 (N, H, W, 3), labels=int (N,), num_classes=None, seed=0) -> Extractor

Training takes seconds (digits) to minutes (CIFAR-10 on an accelerator); the result is kept in the
cache folder. Outputs are `classifier_pool`, the 64 features after ReLU before the last layer, and
`classifier_logits`. Only scores that the same classifier computed are comparable.
"""

import functools
import hashlib
import io
import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Integer, UInt8

from sagan.config.fields import require
from sagan.evaluation.features import _small_cnn
from sagan.evaluation.features._small_cnn import Recipe
from sagan.files.atomic import replacing
from sagan.files.cache import folder
from sagan.parallel import arrays
from sagan.parallel.spread import Spread, check_call

NAME = "classifier"
TRAINED_ON_DATA = True
_HELD_OUT = 10  # one image in ten is not trained on


class ClassifierExtractor:
    """An `Extractor`: a classifier of one dataset at one size.

    Attributes:
      accuracy: on the tenth of the images that it was not trained on, in [0, 1].
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
    recipe: Recipe | None = None,
) -> ClassifierExtractor:
    """Trains a classifier on `images`, or loads the one that was trained on exactly these before.

    With several processes, all must call this, and all get the weights of the first one.

    Args:
      num_classes: None: the largest label + 1.
      seed: of initial weights, order and shifts.
      batch_size: most images at a time when called, over all local devices; None: 64 a device.
      recipe: how it is trained; None: chosen by the number of images and their size.

    Raises: ConfigError if there are fewer than 2 classes, or labels outside [0, num_classes).
    """
    labels = np.asarray(labels, np.int32)
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    require(
        classes >= 2 and len(np.unique(labels)) >= 2,
        f"features {NAME!r} need labels of 2 or more classes; this dataset has fewer",
    )
    require(
        0 <= int(labels.min()) and int(labels.max()) < classes,
        f"labels range over [{labels.min()}, {labels.max()}]; allowed: [0, {classes})",
    )
    recipe = recipe or _small_cnn.recipe(len(images), min(images.shape[1:3]))
    network = _small_cnn.SmallCnn(classes, recipe)
    data_sha256 = _sha256({"images": images, "labels": labels.astype("<i4")})
    params, accuracy = _trained(images, labels, network, seed, data_sha256)
    params, accuracy = arrays.broadcast((params, np.float64(accuracy)))
    fingerprint = {
        "features": NAME,
        "weights_sha256": _sha256(_flat(params)),
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
    """Reads the weights from the cache, or trains them and writes them there."""
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
    """Returns a cached classifier; None if there is none, or the file is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            found = {key: saved[key] for key in saved.files}
        accuracy = float(found.pop("accuracy"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return unflatten_dict(found, sep="/"), accuracy


def _write(path: Path, params: dict, accuracy: float) -> None:
    buffer = io.BytesIO()
    parts: dict[str, Any] = {"accuracy": np.float64(accuracy), **_flat(params)}
    np.savez(buffer, **parts)
    try:
        with replacing(path) as file:
            file.write(buffer.getvalue())
    except OSError as error:
        logging.warning("the classifier cannot be cached and will be trained again: %s", error)


def _flat(params: dict) -> dict[str, np.ndarray]:
    return {str(key): np.asarray(value) for key, value in flatten_dict(params, sep="/").items()}


def _sha256(parts: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"{name}{parts[name].shape}".encode())
        digest.update(parts[name].tobytes())
    return digest.hexdigest()
