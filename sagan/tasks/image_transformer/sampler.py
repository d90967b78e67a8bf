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

from sagan import data
from sagan.config import Config
from sagan.config.fields import require
from sagan.evaluation import reference
from sagan.files.images import grid
from sagan.models import image_transformer
from sagan.tasks import chosen
from sagan.tasks import classes as class_lib
from sagan.tasks.exhibits import Exhibit, Look
from sagan.tasks.image_transformer import generate
from sagan.tasks.image_transformer.generate import Images, Wanted

_COMPLETIONS = 4  # of each image
_MIN_SIDE_PX = 64  # smaller images are enlarged in sheets, so that a person can see them
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

        Raises: ConfigError for arguments that do not fit the model or one another, or a model that
          enlarges images, which needs some: see `enlarge`.
        """
        require(
            not self._model.low_resolution,
            "this model enlarges small images, so it cannot draw without them; see enlarge",
        )
        found, numbers = self.chosen(classes, num, labels, indices)
        _require_no_truncation(truncation)
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
        tokens, small = self._read(pixels)
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

        Raises: ConfigError as `complete`, or if the images cannot be opened.
        """
        _require_no_truncation(truncation)
        opened = reference.open_images(where, image_size=self.image_size)
        if self.class_names and opened.num_classes is not None:
            opened = opened.with_classes(self.class_names)
        pixels, labels = opened.part(min(num, len(opened))).read(np.arange(min(num, len(opened))))
        images = np.repeat(pixels, _COMPLETIONS, 0)
        repeated = None if not self.class_names or labels is None else labels.repeat(_COMPLETIONS)
        drawn = self.complete(images, repeated, seed=seed, temperature=temperature)
        rows = drawn.reshape(len(pixels), _COMPLETIONS, *pixels.shape[1:])
        shown = np.concatenate([pixels[:, None], rows], 1).reshape(-1, *pixels.shape[1:])
        scale = max(1, math.ceil(_MIN_SIDE_PX / self.image_size))
        return grid(shown, 1 + _COMPLETIONS, scale=scale)

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
        _require_images(pixels, low)
        scale = self.image_size // low  # each small pixel as a square, whose mean is that pixel
        found, numbers = self._numbered(pixels, labels, indices)
        _, small = self._read(pixels.repeat(scale, 1).repeat(scale, 2))
        return self._draw(Wanted(numbers, found, None, small), seed, temperature)

    def exhibits(self, count: int) -> list[Exhibit]:
        """Returns real images of the run's data, with the memory of each of their pixels.

        Raises: ConfigError if the data cannot be opened.
        """
        source = data.load(self.config.data, self.image_size, quiet=True)
        images, _ = data.read(source, range(min(count, len(source))))
        seen = image_transformer.layout_of(self._model).seen_in_raster()
        rows, columns = self.image_size, self.image_size
        channels = seen.shape[1] // (rows * columns)
        # A pixel's last channel sees what its others see; a pixel counts if a channel of it does.
        last = seen.reshape(rows * columns, channels, rows, columns, channels)[:, -1]
        last = np.asarray(last.any(-1))
        note = "what was generated before, within its block's memory"
        return [Exhibit("a real image", image, [Look("memory", last, note)]) for image in images]

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
        _require_images(pixels, self.image_size)
        if self._model.channels == 1:
            require_grey(pixels)
        return (pixels, *self._numbered(pixels, labels, indices))

    def _numbered(self, pixels: np.ndarray, labels: Any, indices: Any) -> tuple[Any, Any]:
        numbers = np.arange(len(pixels)) if indices is None else indices
        found, numbers = self.chosen(None, None, labels, numbers)
        chosen.require_as_many(pixels, "images", numbers, "indices")
        return found, numbers

    def _read(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the levels of images and of their small copies."""
        return generate.read(self._model, pixels)


def require_grey(pixels: UInt8[np.ndarray, "N S S 3"]) -> None:
    """Raises: ConfigError if an image is not grey, so that one channel cannot stand for it."""
    coloured = np.flatnonzero((pixels != pixels[..., :1]).any((1, 2, 3)))
    require(
        not coloured.size,
        f"model.channels=1, but images are coloured, such as number {coloured[:1].tolist()} of "
        "those read; allowed: grey images, or model.channels=3",
    )


def _require_images(pixels: np.ndarray, size: int) -> None:
    require(
        pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.shape[1:] == (size, size, 3),
        f"images are {pixels.dtype} of shape {pixels.shape}; allowed: uint8 (N, {size}, {size}, 3)",
    )


def _require_no_truncation(truncation: float | None) -> None:
    require(
        truncation is None,
        f"truncation={truncation}, but there are no latents to be truncated; allowed: temperature",
    )
