"""The base of sources whose files have any shape; images become square when they are read."""

import abc

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sagan.data import Example
from sagan.files.images import Fit, fit


class Stored(abc.ABC):
    """A source that can also return an image in the shape in which it is stored.

    Attributes:
      image_size: height and width that images get, in pixels.
      how: how an image becomes square; see `sagan.files.images.fit`.
    """

    def __init__(self, image_size: int, how: Fit):
        self.image_size, self.how = image_size, how

    @abc.abstractmethod
    def stored(self, index: int) -> tuple[Image.Image, int]:
        """Returns an image as upright RGB of any shape, and its label."""

    def fitted(self, image: Image.Image) -> UInt8[np.ndarray, "S S 3"]:
        """Returns a stored image as training sees it: made square and resized (`images.fit`)."""
        return fit(image, self.image_size, self.how)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Example:
        image, label = self.stored(index)
        return {"image": self.fitted(image), "label": label}
