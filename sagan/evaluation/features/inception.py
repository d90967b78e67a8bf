"""The network of FID and Inception Score, with the weights and the resizing of your choice."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.evaluation.features import _download, _resize, _weights
from sagan.evaluation.features._inception_network import INPUT_SIZE, OUTPUTS, Inception
from sagan.parallel.spread import Spread, check_call

NAME = "inception"


class InceptionExtractor:
    """The FID Inception network; see `sagan.evaluation.features.Extractor`.

    Outputs: `pool` (2048), `pool_768`, `spatial` (2023), `logits` and `logits_unbiased` (1008).
    """

    def __init__(self, layers: _weights.Layers, resizer: str, batch_size: int | None):
        self.name = NAME
        self.fingerprint = {
            "features": NAME,
            "weights_sha256": _weights.sha256(layers),
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
            images = _resize.clean(images, INPUT_SIZE)
        return self._spread(images, outputs)


@functools.cache
def _prepare(resizer: str) -> Callable[[Array], Array]:
    def prepare(images: Array) -> Array:
        if resizer != "clean":
            images = _resize.bilinear(images, INPUT_SIZE, resizer)
        return _resize.normalise(images, resizer)

    return prepare


def _forward(layers: dict, x: Array, outputs: tuple[str, ...]) -> dict[str, Array]:
    needed = {name: layers[name] for name in _needed(outputs)}
    return cast(dict[str, Array], Inception(outputs).apply({"params": needed}, x))


def load(
    *, weights: Path | None = None, resizer: str = "tf", batch_size: int | None = None
) -> InceptionExtractor:
    """Loads the FID Inception network.

    Args:
      weights: a file of `_weights.read`'s kinds; None: the official weights from the
        cache folder, `$SAGAN_CACHE` or `~/.cache/sagan`, downloaded there the first time.
      resizer: `tf`, `torch` or `clean`; see `_resize`.
      batch_size: most images at a time, over all local devices; None: 64 a device.

    Raises:
      ConfigError: weights that cannot be had, or are not this network's; an unknown resizer.
    """
    require(
        resizer in _resize.RESIZERS,
        f"resizer={resizer!r}; allowed: {', '.join(_resize.RESIZERS)}",
    )
    if weights is None:
        path = _download.official()
    else:
        path = Path(weights)
        _download.check_name(path)
    layers = _weights.read(path)
    known = _needed(tuple(OUTPUTS))
    wrong = _weights.mismatch(layers, known)
    if wrong:
        raise ConfigError(f"weights {str(path)!r}: {wrong}")
    layers = {name: layers[name] for name in known if name in layers}
    extractor = InceptionExtractor(layers, resizer, batch_size)
    require(
        bool(extractor.widths),
        f"weights {str(path)!r}: not enough of the FID Inception network for any output",
    )
    return extractor


@functools.cache
def _needed(outputs: tuple[str, ...]) -> Mapping[str, Mapping]:
    """Lists the layers that `outputs` pass through, with the shapes of their arrays."""
    image = jax.ShapeDtypeStruct((1, INPUT_SIZE, INPUT_SIZE, 3), jnp.float32)
    return jax.eval_shape(Inception(outputs).init, jax.random.key(0), image)["params"]


def _missing(layers: _weights.Layers) -> dict[str, str]:
    missing = {}
    for output in OUTPUTS:
        absent = [name for name in _needed((output,)) if name not in layers]
        if absent:
            missing[output] = f"these weights lack {len(absent)} layers, the first is {absent[0]}"
    return missing
