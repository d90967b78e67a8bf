"""A trained Image Transformer that draws, completes and enlarges images."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import ArrayLike

from sagan.config import Config
from sagan.config.fields import require
from sagan.models import image_transformer
from sagan.tasks import chosen
from sagan.tasks import classes as class_lib
from sagan.tasks.exhibits import Exhibit
from sagan.tasks.gan.attention_maps import USUAL_POINTS
from sagan.tasks.image_transformer import attention_maps, checks, generate, sheets
from sagan.tasks.image_transformer.attention_maps import Points
from sagan.tasks.image_transformer.generate import Images, Wanted

Classes = Sequence[str | int] | str | int | None


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Sampler:
    """A checkpoint's weights. Image i depends on seed, i, its class and the temperature alone.

        transformer = sagan.load("runs/digits_transformer")
        images = transformer.sample(classes=["3", "7"], num=4, seed=0)  # uint8 (8, 8, 8, 3)

    Attributes:
      config: of the run.
      step: of the checkpoint.
      class_names: one for each label; empty if the model is unconditional.
      variables: `{"params"}`, the weights that images are drawn with.
    """

    config: Config
    step: int
    class_names: tuple[str, ...]
    variables: Any

    def __repr__(self) -> str:
        classes = f"{len(self.class_names)} classes" if self.class_names else "unconditional"
        return f"<sagan image transformer: step {self.step}, {self.image_size} px, {classes}>"

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels."""
        return self.config.model.image_size

    @property
    def _model(self) -> Any:
        return self.config.model

    @functools.cached_property
    def _weights(self) -> Any:
        return generate.replicated(self.variables)

    def sample(
        self,
        *,
        classes: Classes = None,
        num: int | None = None,
        labels: ArrayLike | None = None,
        indices: ArrayLike | None = None,
        seed: int = 0,
        temperature: float | None = None,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "N S S 3"]:
        """Draws images: so many of some classes, or one for each label and index.

            transformer.sample(classes=["cat", "dog"], num=4)         # 4 of each, class by class
            transformer.sample(num=16)                                # all classes in turn
            transformer.sample(labels=[3, 3, 7], indices=[0, 1, 2])   # exactly these

        Args:
          classes: names, or numbers where no class has a number for a name.
          num: images of each of `classes`; without `classes`, images in all. None: 1.
          labels: whole numbers (N,) in [0, number of classes).
          indices: whole numbers (N,) in [0, 2**32); None: 0 … N - 1.
          seed: in [0, 2**32).
          temperature: above 0; logits are divided by it, so lower ones give more probable images.
            None means 1.
          truncation: None, since there are no latents.

        Raises: ConfigError for arguments that do not fit, or a model that enlarges images.
        """
        require(
            not self._model.low_resolution,
            "this model enlarges small images, so it cannot draw without them; allowed: enlarge, "
            "or sagan sample --enlarge IMAGES",
        )
        found, numbers = self.chosen(classes, num, labels, indices)
        checks.require_no_truncation(truncation)
        return self._draw(Wanted(numbers, found, None, None), seed, temperature)

    def complete(
        self,
        images: UInt8[np.ndarray, "N S S 3"],
        labels: ArrayLike | None = None,
        indices: ArrayLike | None = None,
        *,
        rows: int | None = None,
        seed: int = 0,
        temperature: float | None = None,
    ) -> UInt8[np.ndarray, "N S S 3"]:
        """Keeps the upper rows of images and draws the rest.

            transformer.complete(images, labels=[3, 7])

        Args:
          images: of the model's size; what is below `rows` is not looked at.
          labels, indices, seed, temperature: as for `sample`.
          rows: how many rows are kept; None: half of them.

        Raises: ConfigError as `sample`, or for images or rows that do not fit.
        """
        config = self._model
        pixels, found, numbers = self._images(images, labels, indices)
        kept = self.image_size // 2 if rows is None else rows
        step = config.block[0] if config.attention == "local_2d" else 1
        require(
            chosen.is_whole(kept) and 0 <= kept <= self.image_size and kept % step == 0,
            f"rows={kept!r}; allowed: multiples of {step} from 0 to {self.image_size}",
        )
        tokens, small = generate.read(config, pixels)
        layout = image_transformer.layout_of(config)
        place = np.asarray(layout.to_order(jnp.arange(layout.length)))
        known = place // layout.columns < kept
        return self._draw(Wanted(numbers, found, tokens, small), seed, temperature, known)

    def completion_sheet(
        self,
        where: str,
        num: int,
        *,
        seed: int = 0,
        temperature: float | None = None,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Draws a row for each of `num` images: the image, and four that share its upper half.

        Args:
          where: the images: a folder, a zip, or PRESET:SPLIT.
          seed, temperature, truncation: as for `sample`.

        Raises: ConfigError as `complete`, or if the images cannot be opened or lack classes.
        """
        checks.require_no_truncation(truncation)
        return sheets.completions(self, where, num, {"seed": seed, "temperature": temperature})

    def enlargement_sheet(
        self,
        where: str,
        num: int,
        *,
        seed: int = 0,
        temperature: float | None = None,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Draws a row for each of `num` images: its small copy, four enlargements, and itself.

        Args, Raises: as for `completion_sheet`; a model that does not enlarge is refused.
        """
        checks.require_no_truncation(truncation)
        return sheets.enlargements(self, where, num, {"seed": seed, "temperature": temperature})

    def attention(
        self,
        labels: ArrayLike | None = None,
        indices: ArrayLike | None = None,
        *,
        points: Points = USUAL_POINTS,
        seed: int = 0,
        temperature: float | None = None,
    ) -> dict[str, Float[np.ndarray, "N P S S"]]:
        """Returns, by layer, where some pixels of the images that `sample` draws looked.

            maps = transformer.attention(labels=[3], indices=[0], points=[(0.5, 0.5)])
            maps["layers_0"][0, 0]  # (S, S): a weight for each pixel; see `attention_maps`

        Args: as for `sample`; points are (row, column) as fractions of the side, in [0, 1).

        Raises: ConfigError as `sample`, or for points outside the image.
        """
        drawn, found = self._drawn(labels, indices, seed, temperature)
        return attention_maps.of_images(self._model, self._weights, drawn, found, points)

    def attention_sheet(
        self,
        labels: ArrayLike | None,
        indices: ArrayLike,
        points: Points = (),
        *,
        seed: int = 0,
        temperature: float | None = None,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Draws where points of images looked, or three usual ones; see `attention_maps.sheet`.

        Args: as for `attention`, and `truncation` as for `sample`. Raises: as `attention`.
        """
        checks.require_no_truncation(truncation)
        drawn, found = self._drawn(labels, indices, seed, temperature)
        usual = points or USUAL_POINTS
        return attention_maps.sheet(self._model, self._weights, drawn, found, usual)

    def _drawn(self, labels: Any, indices: Any, seed: int, temperature: float | None) -> Any:
        """Draws images; returns them and their labels."""
        how: Any = {"seed": seed, "temperature": temperature}
        drawn = self.sample(labels=labels, indices=indices, **how)
        return drawn, self.chosen(None, None, labels, indices)[0]

    def enlarge(
        self,
        images: UInt8[np.ndarray, "N s s 3"],
        labels: ArrayLike | None = None,
        indices: ArrayLike | None = None,
        *,
        seed: int = 0,
        temperature: float | None = None,
    ) -> UInt8[np.ndarray, "N S S 3"]:
        """Draws large images from small ones, whose size is `model.low_resolution`.

        Args: as for `sample`.

        Raises: ConfigError for images that do not fit, or a model that does not enlarge.
        """
        low = self._model.low_resolution
        require(low > 0, "this model does not enlarge images (model.low_resolution is 0)")
        pixels = np.asarray(images)
        checks.require_images(pixels, low)
        scale = self.image_size // low  # each small pixel as a square, whose mean is that pixel
        found, numbers = self._numbered(pixels, labels, indices)
        _, small = generate.read(self._model, pixels.repeat(scale, 1).repeat(scale, 2))
        return self._draw(Wanted(numbers, found, None, small), seed, temperature)

    def exhibits(self, count: int) -> list[Exhibit]:
        """Returns real images and the memory of their pixels; see `sheets.exhibits`."""
        return sheets.exhibits(self.config, count)

    def bits_per_dim(
        self, images: UInt8[np.ndarray, "N S S 3"], labels: ArrayLike | None = None
    ) -> Float[np.ndarray, " N"]:
        """Returns how many bits images take, per intensity: -log2 of their probability.

        Raises: ConfigError for images or labels that do not fit.
        """
        pixels, found, _ = self._images(images, labels, None)
        return generate.bits_per_dim(self._model, self._weights, Images(pixels, found))

    def find(self, classes: Sequence[str | int] | str | int) -> list[int]:
        """Returns the labels of classes that are given by name or number; see `classes.find`."""
        wanted = [classes] if isinstance(classes, (str, int)) else list(classes)
        return class_lib.find(self.class_names, wanted)

    def chosen(
        self,
        classes: Classes = None,
        num: int | None = None,
        labels: ArrayLike | None = None,
        indices: ArrayLike | None = None,
    ) -> tuple[Int[np.ndarray, " N"] | None, Int[np.ndarray, " N"]]:
        """Returns label (None if unconditional) and index of each image; arguments as `sample`."""
        return chosen.images(self.class_names, classes, num, labels, indices)

    def _draw(
        self, wanted: Wanted, seed: int, temperature: float | None, known: Any = None
    ) -> UInt8[np.ndarray, "N S S 3"]:
        require(
            chosen.is_whole(seed) and 0 <= seed < 2**32,
            f"seed={seed!r}; allowed: whole numbers 0 … {2**32 - 1}",
        )
        warmth = 1.0 if temperature is None else temperature
        require(
            isinstance(warmth, (int, float)) and 0 < warmth < math.inf,
            f"temperature={temperature!r}; allowed: numbers above 0",
        )
        wanted = wanted._replace(index=wanted.index.astype(np.uint32))
        how: Any = {"seed": int(seed), "temperature": float(warmth), "known": known}
        return generate.draw(self._model, self._weights, wanted, **how)

    def _images(self, images: Any, labels: Any, indices: Any) -> tuple[Any, Any, Any]:
        pixels = np.asarray(images)
        checks.require_images(pixels, self.image_size)
        if self._model.channels == 1:
            checks.require_grey(pixels)
        return (pixels, *self._numbered(pixels, labels, indices))

    def _numbered(self, pixels: np.ndarray, labels: Any, indices: Any) -> tuple[Any, Any]:
        numbers = np.arange(len(pixels)) if indices is None else indices
        found, numbers = self.chosen(None, None, labels, numbers)
        chosen.require_as_many(pixels, "images", numbers, "indices")
        return found, numbers
