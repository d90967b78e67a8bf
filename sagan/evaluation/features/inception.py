"""The FID Inception network, with a choice of weights and of the resizer: FID, IS and others."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Array

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.evaluation.features.fid_inception import official, resize
from sagan.evaluation.features.fid_inception import weights as weights_lib
from sagan.evaluation.features.fid_inception.network import (
    INPUT_SIZE,
    OUTPUTS,
    Inception,
    layers_of,
)
from sagan.parallel.spread import Spread, check_call

NAME = "inception"


class InceptionExtractor:
    """The FID Inception network; see `sagan.evaluation.features.Extractor`.

    Outputs: `pool` (2048), `pool_768`, `spatial` (2023), `logits` and `logits_unbiased` (1008).
    """

    def __init__(self, layers: weights_lib.Layers, resizer: str, batch_size: int | None):
        self.name = NAME
        self.fingerprint = {
            "features": NAME,
            "weights_sha256": weights_lib.sha256(layers),
            "resizer": resizer,
        }
        self.missing = _missing(layers)
        self.widths: Mapping[str, int] = {
            name: width for name, width in OUTPUTS.items() if name not in self.missing
        }
        self._resizer = resizer
        self._spread = Spread(_prepare(resizer), _forward, layers, batch_size)

    def __call__(self, images: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        check_call(images, outputs, self.widths, self.missing)
        if self._resizer == "clean":
            images = resize.clean(images, INPUT_SIZE)
        return self._spread(images, outputs)


@functools.cache
def _prepare(resizer: str) -> Callable[[Array], Array]:
    def prepare(images: Array) -> Array:
        if resizer != "clean":
            images = resize.bilinear(images, INPUT_SIZE, resizer)
        return resize.normalise(images, resizer)

    return prepare


def _forward(layers: dict, x: Array, outputs: tuple[str, ...]) -> dict[str, Array]:
    needed = {name: layers[name] for name in layers_of(outputs)}
    return cast(dict[str, Array], Inception(outputs).apply({"params": needed}, x))


def load(
    *, weights: Path | None = None, resizer: str = "tf", batch_size: int | None = None
) -> InceptionExtractor:
    """Loads the FID Inception network.

    Args:
      weights: a file of any kind that `fid_inception.weights` reads. None: the official weights
        from the cache folder (`$SAGAN_CACHE` or `~/.cache/sagan`), downloaded there the first
        time.
      resizer: `tf`, `torch` or `clean`; see `fid_inception.resize`.
      batch_size: most images at a time, over all local devices; None: 64 a device.

    Raises:
      ConfigError: weights that cannot be read, or are of another network; an unknown resizer.
    """
    require(
        resizer in resize.RESIZERS,
        f"resizer={resizer!r}; allowed: {', '.join(resize.RESIZERS)}",
    )
    if weights is None:
        path = official.find()
    else:
        path = Path(weights)
        official.check_name(path)
    layers = weights_lib.read(path)
    known = layers_of(tuple(OUTPUTS))
    wrong = weights_lib.mismatch(layers, known)
    if wrong:
        raise ConfigError(f"weights {str(path)!r}: {wrong}")
    layers = {name: layers[name] for name in known if name in layers}
    extractor = InceptionExtractor(layers, resizer, batch_size)
    require(
        bool(extractor.widths),
        f"weights {str(path)!r}: not enough of the FID Inception network for any output",
    )
    return extractor


def _missing(layers: weights_lib.Layers) -> dict[str, str]:
    """Returns, for each output that needs layers which are not there, the reason."""
    missing = {}
    for output in OUTPUTS:
        absent = [name for name in layers_of((output,)) if name not in layers]
        if absent:
            missing[output] = f"these weights lack {len(absent)} layers, the first is {absent[0]}"
    return missing
