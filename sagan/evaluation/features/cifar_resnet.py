"""A residual network for CIFAR-10 that was trained elsewhere, independently of all generators.

    load(weights=FILE.npz) -> Extractor

The file holds PyTorch's names and layouts: `conv1.weight` (OIHW), `bn1.{weight,bias,running_mean,
running_var}`, `layer1.0.conv1.weight`, …, `linear.{weight,bias}`; its depth is read from it.
Outputs have the names of those of `classifier`, so the same metrics read them.

Source: He et al. (arXiv:1512.03385), Section 4.2, shortcuts without weights (option A).
"""

import functools
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.evaluation.features.fid_inception import weights as weights_lib
from sagan.parallel.spread import Spread, check_call

NAME = "cifar_resnet"
_SIZE = 32
_WIDTH = 64
# Mean and standard deviation that such networks are usually trained with, for pixels in [0, 1].
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EPSILON = 1e-5


class CifarResnet:
    """An `Extractor` with the outputs `classifier_pool` (64) and `classifier_logits`."""

    def __init__(self, layers: weights_lib.Layers, blocks: int, batch_size: int | None):
        self.name = NAME
        self.fingerprint = {"features": NAME, "weights_sha256": weights_lib.sha256(layers)}
        classes = layers["linear"]["bias"].shape[0]
        self.widths: Mapping[str, int] = {"classifier_pool": _WIDTH, "classifier_logits": classes}
        self.missing: Mapping[str, str] = {}
        self._spread = Spread(_prepare, _forward(blocks), layers, batch_size)

    def __call__(self, images: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        check_call(images, outputs, self.widths, self.missing)
        if images.shape[1:3] != (_SIZE, _SIZE):
            raise ConfigError(f"features {NAME!r} take images of {_SIZE} px, not {images.shape[1]}")
        return self._spread(images, outputs)


def load(
    *, weights: Path | None = None, resizer: str = "tf", batch_size: int | None = None
) -> CifarResnet:
    """Reads the network from a file.

    Raises: ConfigError without a file, or if it does not hold such a network.
    """
    if weights is None:
        raise ConfigError(f"features {NAME!r} need --weights FILE.npz")
    require(resizer == "tf", f"features {NAME!r} resize nothing; --resizer is not for them")
    try:
        with Path(weights).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"weights {str(weights)!r} cannot be read: {error}") from error
    blocks = len([name for name in arrays if name.startswith("layer1.") and "conv1" in name])
    try:
        layers = _layers(arrays, blocks)
    except KeyError as error:
        raise ConfigError(
            f"weights {str(weights)!r}: no {error.args[0]}; not a residual network for CIFAR"
        ) from error
    require(
        blocks > 0 and layers["linear"]["kernel"].shape[0] == _WIDTH,
        f"weights {str(weights)!r}: not a residual network for CIFAR, 64 wide at its end",
    )
    return CifarResnet(layers, blocks, batch_size)


def _names(blocks: int) -> list[tuple[str, str]]:
    """Returns pairs of a convolution and the batch norm after it, in order."""
    inside = [
        (f"layer{stage}.{block}.conv{i}", f"layer{stage}.{block}.bn{i}")
        for stage in (1, 2, 3)
        for block in range(blocks)
        for i in (1, 2)
    ]
    return [("conv1", "bn1"), *inside]


def _layers(arrays: Mapping[str, np.ndarray], blocks: int) -> weights_lib.Layers:
    """Returns kernels and biases by layer, each batch norm folded into its convolution."""
    layers = {}
    for convolution, norm in _names(blocks):
        scale = arrays[f"{norm}.weight"] / np.sqrt(arrays[f"{norm}.running_var"] + _EPSILON)
        kernel = arrays[f"{convolution}.weight"].transpose(2, 3, 1, 0) * scale
        bias = arrays[f"{norm}.bias"] - arrays[f"{norm}.running_mean"] * scale
        layers[convolution] = {"kernel": kernel, "bias": bias}
    layers["linear"] = {"kernel": arrays["linear.weight"].T, "bias": arrays["linear.bias"]}
    return {
        name: {part: np.ascontiguousarray(x, np.float32) for part, x in layer.items()}
        for name, layer in layers.items()
    }


def _prepare(images: Array) -> Array:
    mean, deviation = (jnp.array(x, jnp.float32).reshape(1, 1, 1, 3) for x in (_MEAN, _DEVIATION))
    return (images.astype(jnp.float32) / 255 - mean) / deviation


@functools.cache
def _forward(blocks: int) -> Callable[..., dict[str, Array]]:
    def convolve(layers: Any, name: str, x: Array, stride: int = 1) -> Array:
        y = lax.conv_general_dilated(
            x,
            layers[name]["kernel"],
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y + layers[name]["bias"].reshape(1, 1, 1, -1)

    def forward(layers: Any, x: Array, outputs: tuple[str, ...]) -> dict[str, Array]:
        x = jax.nn.relu(convolve(layers, "conv1", x))
        for stage in (1, 2, 3):
            for block in range(blocks):
                name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
                y = jax.nn.relu(convolve(layers, f"{name}.conv1", x, stride))
                y = convolve(layers, f"{name}.conv2", y)
                if stride == 2:  # every second pixel; half of the new zero channels in front
                    new = (y.shape[-1] - x.shape[-1]) // 2
                    x = jnp.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(new, new)])
                x = jax.nn.relu(x + y)
        pool = x.mean((1, 2))
        logits = pool @ layers["linear"]["kernel"] + layers["linear"]["bias"][None]
        found = {"classifier_pool": pool, "classifier_logits": logits}
        return {name: found[name] for name in outputs}

    return forward
