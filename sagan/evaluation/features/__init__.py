"""Networks whose features scores are computed from; one file, one network.

A file here offers

    load(...) -> Extractor

and is found by name through `sagan.registry`. `inception.load(weights=..., resizer="tf")` is the
network of FID and Inception Score; `classifier.load(images=..., labels=...)` trains a small one
on the dataset at hand. An extractor takes images as they would be stored, uint8 RGB, and gives
host arrays, in order, however many devices did the work.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

__all__ = ["Extractor"]


@runtime_checkable
class Extractor(Protocol):
    """Maps images to named feature vectors.

    Attributes:
      name: of the network, as in `eval.features`.
      fingerprint: everything that changes the numbers. Scores compare only where these are equal.
      widths: outputs it can give, and their widths.
      missing: outputs of this network that its weights do not reach, and why; one line each.
    """

    name: str
    fingerprint: dict[str, str]
    widths: Mapping[str, int]
    missing: Mapping[str, str]

    def __call__(
        self, images: UInt8[np.ndarray, "B H W 3"], outputs: Sequence[str]
    ) -> dict[str, Float[np.ndarray, "B _"]]:
        """Computes `outputs` of `images`, no further into the network than they need.

        Any B; the batch is spread over the local devices. One call, one image size.

        Raises:
          ConfigError: an output the weights do not reach.
          ValueError: an output the network does not have; images of another shape or type.
        """
        ...
