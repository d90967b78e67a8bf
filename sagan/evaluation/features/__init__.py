"""Feature networks, which turn images into the vectors that metrics compare.

One file is one network, found by its name (`eval.features`); so is a module of yours, by its
dotted name. A file defines

    load(*, weights: Path | None, resizer: str) -> Extractor

or, for a network that is first trained on the data at hand,

    TRAINED_ON_DATA = True
    load(*, images: uint8 (N, H, W, 3), labels: int (N,), num_classes: int) -> Extractor

Files: `inception` (FID, Inception Score), `cifar_resnet` (trained elsewhere), `classifier`
(trained on the data); the folder `fid_inception` holds the parts of `inception`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from sagan.config import plugins
from sagan.config.fields import require
from sagan.data.image_sets import FromSource

DEFAULT_RESIZER = "tf"


@runtime_checkable
class Extractor(Protocol):
    """Maps images to named feature vectors.

    Attributes:
      name: that of the network, as in `eval.features`.
      fingerprint: everything that changes the numbers; only scores with equal ones are comparable.
      widths: the outputs that it can compute, and their widths.
      missing: outputs that need layers which its weights do not contain, and why, in one line.
    """

    name: str
    fingerprint: dict[str, str]
    widths: Mapping[str, int]
    missing: Mapping[str, str]

    def __call__(
        self, images: UInt8[np.ndarray, "B H W 3"], outputs: Sequence[str]
    ) -> dict[str, Float[np.ndarray, "B _"]]:
        """Computes `outputs` of RGB images, on all local devices; returns host arrays, in order.

        Takes any number of images of one size. Layers after the last output are not run.

        Raises:
          ConfigError: an output that needs layers which the weights lack.
          ValueError: an output that the network does not have; images of another shape or type.
        """
        ...


def load(
    name: str, weights: Path | None, resizer: str, training_images: Callable[[], FromSource]
) -> Extractor:
    """Loads a feature network by name.

    Args:
      training_images: opens the images for a network that is trained on the data.

    Raises: ConfigError for an unknown network, weights that cannot be read, choices that the
      network does not have, or data without classes where it needs them.
    """
    module = plugins.load("features", name, field="features")
    if not getattr(module, "TRAINED_ON_DATA", False):
        return module.load(weights=weights, resizer=resizer)
    require(weights is None, f"features {name!r} are trained on the data; --weights does not apply")
    require(resizer == DEFAULT_RESIZER, f"features {name!r} do not resize; --resizer={resizer!r}")
    images = training_images()
    num_classes = images.num_classes
    require(
        num_classes is not None, f"features {name!r} need data with classes; {images.name} has none"
    )
    pixels, labels = images.arrays()
    return module.load(images=pixels, labels=labels, num_classes=num_classes)
