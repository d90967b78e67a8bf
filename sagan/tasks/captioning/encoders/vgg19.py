"""VGG-19 up to conv5_4, the encoder of Show, Attend and Tell: 14 x 14 places of 512 values.

The weights are torchvision's file `vgg19-….pth`, which `model.encoder_weights` names; nothing is
downloaded. Images are 224 px (any multiple of 16 works), normalised as that file expects.
Source: Simonyan & Zisserman (arXiv:1409.1556); features after the last ReLU before the last pool.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.files import places, torch_file

_WIDTHS = (64, 128, 256, 512, 512)
_CONVS = (2, 2, 4, 4, 4)  # in front of each halving
_HALVINGS = len(_CONVS) - 1
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def grid(image_size: int) -> int:
    """Returns the number of annotations along each side. Raises: ConfigError for other sizes."""
    step = 2**_HALVINGS
    require(
        image_size % step == 0,
        f"model.image_size={image_size}; encoder vgg19 needs a multiple of {step}, such as 224",
    )
    return image_size // step


def _layers() -> list[tuple[int, int, bool]]:
    """Returns each convolution's channels in and out, and whether the image is halved before."""
    found, channels = [], 3
    for block, (width, count) in enumerate(zip(_WIDTHS, _CONVS, strict=True)):
        for number in range(count):
            found.append((channels, width, block > 0 and number == 0))
            channels = width
    return found


def _names() -> list[str]:
    """Returns the names of the convolutions in torchvision's list of layers."""
    names, at = [], 0
    for count in _CONVS:
        for _ in range(count):
            names.append(f"features.{at}")
            at += 2  # a convolution and its ReLU
        at += 1  # the pool
    return names


def init(key: Array, image_size: int) -> Any:
    """Draws weights of the right shapes, which those of `load` then replace."""
    del image_size
    keys = jax.random.split(key, len(_layers()))
    draw = nn.initializers.he_normal()
    return {
        name: {"kernel": draw(k, (3, 3, inputs, outputs)), "bias": jnp.zeros(outputs)}
        for k, name, (inputs, outputs, _) in zip(keys, _names(), _layers(), strict=True)
    }


def annotate(params: Any, images: Float[Array, "B S S 3"]) -> Float[Array, "B L 512"]:
    """Returns the features of images in [-1, 1], row by row."""
    mean, spread = (jnp.array(v).reshape(1, 1, 1, 3) for v in (_MEAN, _SPREAD))
    x = (images / 2 + 0.5 - mean) / spread
    for name, (_, outputs, halved) in zip(_names(), _layers(), strict=True):
        x = nn.max_pool(x, (2, 2), (2, 2)) if halved else x
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = nn.relu(x + bias.reshape(1, 1, 1, outputs))
    return x.reshape(len(x), -1, x.shape[-1])


def load(weights: str | None) -> Any:
    """Reads torchvision's file without running code in it.

    Raises: ConfigError if none is given, it cannot be read, or it holds another network.
    """
    if weights is None:
        raise ConfigError(
            "encoder vgg19 needs model.encoder_weights=FILE, torchvision's vgg19 .pth"
        )
    path = places.local(weights, "model.encoder_weights=")
    if not path.is_file():
        raise ConfigError(f"model.encoder_weights={weights}: there is no such file")
    tensors = torch_file.tensors(path)
    found = {}
    for name, (inputs, outputs, _) in zip(_names(), _layers(), strict=True):
        kernel, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
        if kernel is None or bias is None or kernel.shape != (outputs, inputs, 3, 3):
            raise ConfigError(
                f"{path}: {name}.weight is {None if kernel is None else kernel.shape}; needed: "
                f"{(outputs, inputs, 3, 3)} with a bias, as in torchvision's vgg19"
            )
        turned = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0), np.float32)
        found[name] = {"kernel": turned, "bias": np.asarray(bias, np.float32)}
    return found


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"
