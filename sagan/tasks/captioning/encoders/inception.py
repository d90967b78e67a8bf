"""The FID Inception network up to `mixed_7`: 17 x 17 places of 768 values for images of 299 px.

The weights are those that FID is computed with: `model.encoder_weights` is a `.pth`, `.pb`, `.tgz`
or `.npz` of them. If none is given, it is the official file in the cache folder, which is
downloaded the first time.
Source: see `sagan.evaluation.features.fid_inception.network`.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.evaluation.features.fid_inception import official
from sagan.evaluation.features.fid_inception import weights as weights_lib
from sagan.evaluation.features.fid_inception.network import Inception, layers_of
from sagan.files import places

_OUTPUT = "mixed_7"
_WIDTH = 768
_LEAST_PX = 43  # of which one place is left


def grid(image_size: int) -> int:
    """Returns the number of annotations along each side. Raises: ConfigError for small images."""
    require(
        image_size >= _LEAST_PX,
        f"model.image_size={image_size}; encoder inception needs {_LEAST_PX} or more; it was "
        "trained on 299",
    )
    half = (image_size - 1) // 2  # a 3 x 3 window every second pixel, without a border
    quarter = (half - 3) // 2
    eighth = (quarter - 3) // 2
    return (eighth - 1) // 2


def init(key: Array, image_size: int) -> Any:
    """Returns zeros in the shapes of the weights that `load` reads."""
    del key, image_size
    shapes = layers_of((_OUTPUT,))
    return {
        layer: {part: jnp.zeros(x.shape, x.dtype) for part, x in parts.items()}
        for layer, parts in shapes.items()
    }


def annotate(params: Any, images: Float[Array, "B S S 3"]) -> Float[Array, "B L 768"]:
    """Returns the features of images in [-1, 1], row by row."""
    x = ((images + 1) * 127.5 - 128) / 128  # as the network was trained
    found: Any = Inception((_OUTPUT,)).apply({"params": params}, x)
    return found[_OUTPUT].reshape(len(images), -1, _WIDTH)


def load(weights: str | None) -> Any:
    """Reads the weights without running code in their file.

    Raises: ConfigError if they cannot be read or downloaded, or are of another network.
    """
    field = "model.encoder_weights="
    path = official.find() if weights is None else places.local(weights, field)
    official.check_name(path)
    layers, needed = weights_lib.read(path), layers_of((_OUTPUT,))
    wrong = weights_lib.mismatch(layers, needed)
    if wrong:
        raise ConfigError(f"{field}{path}: {wrong}")
    absent = [name for name in needed if name not in layers]
    require(
        not absent,
        f"{field}{path}: {len(absent)} layers of {_OUTPUT} are missing, such as {absent[:1]}",
    )
    return {name: layers[name] for name in needed}
