"""A trained generator that draws images by seed, index and class."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import ArrayLike

from sagan.config import Config
from sagan.config.fields import require
from sagan.evaluation import require_truncation
from sagan.files import images
from sagan.tasks import chosen
from sagan.tasks import classes as class_lib
from sagan.tasks.exhibits import Exhibit
from sagan.tasks.gan import attention_maps, generate, inference, interpolation, telemetry


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Sampler:
    """A checkpoint's averaged generator. Image i depends on seed, i and its class alone.

        generator = sagan.load("runs/digits")
        images = generator.sample(classes=["3", "7"], num=4, seed=0)  # uint8 (8, 8, 8, 3)

    Attributes:
      config: of the run.
      step: of the checkpoint.
      class_names: one for each label; empty if the model is unconditional.
      variables: as `inference.averaged` returns them.
      origin: the project that the weights were imported from; empty if they were trained here.
    """

    config: Config
    step: int
    class_names: tuple[str, ...]
    variables: Any
    origin: str = ""

    def __repr__(self) -> str:
        classes = f"{len(self.class_names)} classes" if self.class_names else "unconditional"
        return f"<sagan generator: step {self.step}, {self.image_size} px, {classes}>"

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels."""
        return self.config.model.image_size

    @property
    def z_dim(self) -> int:
        """Number of values of a latent."""
        model: Any = self.config.model
        return model.z_dim

    def sample(
        self,
        *,
        classes: Sequence[str | int] | str | int | None = None,
        num: int | None = None,
        labels: ArrayLike | None = None,
        indices: ArrayLike | None = None,
        seed: int = 0,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "N S S 3"]:
        """Draws images: so many of some classes, or one for each label and index.

            generator.sample(classes=["cat", "dog"], num=4)         # 4 of each, class by class
            generator.sample(num=16)                                # all classes in turn
            generator.sample(labels=[3, 3, 7], indices=[0, 1, 2])   # exactly these

        Args:
          classes: names, or numbers where no class has a number for a name.
          num: images of each of `classes`; without `classes`, images in all. None: 1.
          labels: whole numbers (N,) in [0, number of classes).
          indices: whole numbers (N,) in [0, 2**32); None: 0 … N - 1.
          seed: in [0, 2**32).
          truncation: psi in (0, 1]; latents are multiplied by it, which makes images more alike.
            None means 1. Where the model has several sets of batch statistics, those of psi are
            taken.

        Raises: ConfigError for arguments that do not fit the model or one another.
        """
        picked, numbers = self.chosen(classes, num, labels, indices)
        psi = _psi(truncation)
        z = self.latents(numbers, seed)
        return generate.images(self.config.model, self._at(psi), z, picked, truncation=psi)

    def __call__(
        self,
        latents: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        truncation: float | None = None,
    ) -> Float[np.ndarray, "N S S 3"]:
        """Draws one image, float32 in [-1, 1], for each latent.

            images = generator(generator.latents([0, 1]), labels=[3, 7])

        Args:
          latents: finite numbers (N, z_dim); the model was trained on standard normal ones.
          labels: whole numbers (N,); or weights of the classes (N, number of classes), each row
            adding up to 1, which blend what the classes have learned. None if the model is
            unconditional.
          truncation: factor of the latents in (0, 1]; None means 1.

        Raises: ConfigError for arguments that do not fit, or weights for networks that cannot
          blend classes.
        """
        z = np.asarray(latents)
        require(
            z.ndim == 2 and z.shape[1] == self.z_dim and z.dtype.kind in "fiu",
            f"latents are {z.dtype} of shape {z.shape}; allowed: numbers (N, {self.z_dim})",
        )
        z = z.astype(np.float32)
        require(bool(np.isfinite(z).all()), "latents are not all finite; allowed: finite numbers")
        picked = chosen.labels(self.class_names, labels, weights=True)
        if picked is not None:
            chosen.require_as_many(picked, "labels", z, "latents")
        model = self.config.model
        if picked is not None and picked.ndim == 2:
            generate.require_blending(model)
        psi = _psi(truncation)
        return generate.images(model, self._at(psi), z, picked, truncation=psi, as_float=True)

    def attention(
        self,
        labels: ArrayLike | None = None,
        indices: ArrayLike | None = None,
        *,
        seed: int = 0,
        truncation: float | None = None,
    ) -> dict[str, Float[np.ndarray, "N Q K"]]:
        """Returns each attention layer's map for each image that `sample` draws.

            maps = generator.attention(labels=[3], indices=[0])

        Args: as `sample`; one image at least.

        Returns: by layer, (N, queries, keys); each row is what one position looks at, sums to 1.

        Raises: ConfigError as `sample`, or if the generator has no attention layer.
        """
        picked, numbers = self.chosen(None, None, labels, indices)
        require(len(numbers) > 0, "attention of no image; allowed: one or more")
        psi = _psi(truncation)
        z = self.latents(numbers, seed) * np.float32(psi)
        maps = generate.attention_maps(self.config.model, self._at(psi), z, picked)
        require(bool(maps), "this generator has no attention layer (model.attention is empty)")
        return maps

    def attention_sheet(
        self,
        labels: ArrayLike | None,
        indices: ArrayLike,
        points: Sequence[tuple[float, float]] = (),
        *,
        seed: int = 0,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Draws where query points of images look; see `attention_maps.sheet`.

        Args:
          points: (row, column) as fractions of the side; empty: three usual ones.

        Raises: ConfigError as `attention`.
        """
        how: Any = {"seed": seed, "truncation": truncation}
        maps = self.attention(labels, indices, **how)
        drawn = self.sample(labels=labels, indices=indices, **how)
        return attention_maps.sheet(drawn, maps, points or attention_maps.USUAL_POINTS)

    def exhibits(self, count: int) -> list[Exhibit]:
        """Returns `count` images with their attention maps; none if there is no such layer."""
        labels, indices = self.chosen(num=count)
        z = self.latents(indices)
        maps = generate.attention_maps(self.config.model, self._at(1.0), z, labels)
        if not maps:
            return []
        names = [""] * count if labels is None else [self.class_names[n] for n in labels]
        gammas = telemetry.gammas("g", self.variables["params"])
        drawn = self.sample(labels=labels, indices=indices)
        return attention_maps.exhibits(drawn, names, maps, gammas)

    def interpolate(
        self,
        begin: tuple[int, int | str | None],
        end: tuple[int, int | str | None],
        *,
        steps: int = 9,
        seed: int = 0,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "steps S S 3"]:
        """Draws the images between two, with both of them, which are those that `sample` draws.

            generator.interpolate((0, "3"), (5, "7"), steps=60)

        Latents go along a great circle. Between two classes the generator blends what they have
        learned, in equal steps.

        Args:
          begin, end: index and class (name or label) of an image; None if unconditional.

        Raises: ConfigError for arguments that do not fit, or different classes with networks that
          cannot blend them.
        """
        require(
            chosen.is_whole(steps) and steps >= 2, f"steps={steps!r}; allowed: whole numbers >= 2"
        )
        fractions = np.linspace(0, 1, steps)
        first, last = self.latents([begin[0], end[0]], seed)
        z = np.stack([interpolation.slerp(first, last, t) for t in fractions])
        labels: ArrayLike | None = None
        if self.class_names:
            one, other = (self._label(place[1]) for place in (begin, end))
            labels = np.full(steps, one)
            if one != other:
                count = len(self.class_names)
                labels = interpolation.class_weights(one, other, fractions, count)
        return images.quantize(self(z, labels, truncation=truncation))

    def _at(self, psi: float) -> Any:
        return inference.at_truncation(self.config.model, self.variables, psi)

    def _label(self, name: int | str | None) -> int:
        require(name is not None, f"a class is needed; {len(self.class_names)} are known")
        assert name is not None
        if chosen.is_whole(name):
            return int(chosen.labels(self.class_names, [name])[0])
        return self.find(name)[0]

    def latents(self, indices: ArrayLike, seed: int = 0) -> Float[np.ndarray, "N Z"]:
        """Draws the latent of each index from the standard normal distribution.

        Raises: ConfigError if an index or the seed is not a whole number in [0, 2**32).
        """
        numbers = chosen.whole_numbers(indices, "indices", 2**32)
        require(chosen.is_whole(seed), f"seed={seed!r}; allowed: whole numbers 0 … {2**32 - 1}")
        return generate.draw_latents(int(seed), numbers, self.z_dim)

    def find(self, classes: Sequence[str | int] | str | int) -> list[int]:
        """Returns the labels of classes that are given by name or number; see `classes.find`.

        Raises: ConfigError if there is no such class (the message lists the known ones), or one
          is given twice.
        """
        wanted = [classes] if isinstance(classes, (str, int)) else list(classes)
        return class_lib.find(self.class_names, wanted)

    def chosen(
        self,
        classes: Sequence[str | int] | str | int | None = None,
        num: int | None = None,
        labels: ArrayLike | None = None,
        indices: ArrayLike | None = None,
    ) -> tuple[Int[np.ndarray, " N"] | None, Int[np.ndarray, " N"]]:
        """Returns label (None if unconditional) and index of each image; arguments as `sample`."""
        return chosen.images(self.class_names, classes, num, labels, indices)


def _psi(truncation: float | None) -> float:
    require_truncation(truncation)
    return 1.0 if truncation is None else float(truncation)
