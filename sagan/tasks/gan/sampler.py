"""A trained generator that draws images by seed, index and class."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import ArrayLike

from sagan.config import Config, ConfigError
from sagan.config.fields import require
from sagan.evaluation import require_truncation
from sagan.tasks.gan import classes as class_lib
from sagan.tasks.gan import generate

_SUM_TOLERANCE = 1e-3  # of weights of classes, which should add up to 1


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
    """

    config: Config
    step: int
    class_names: tuple[str, ...]
    variables: Any

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
            None means 1.

        Raises: ConfigError for arguments that do not fit the model or one another.
        """
        chosen, numbers = self.chosen(classes, num, labels, indices)
        return generate.images(
            self.config.model,
            self.variables,
            self.latents(numbers, seed),
            chosen,
            truncation=_psi(truncation),
        )

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
        chosen = self._labels(labels, weights=True)
        if chosen is not None:
            _require_as_many(chosen, "labels", z, "latents")
        model = self.config.model
        if chosen is not None and chosen.ndim == 2:
            generate.require_blending(model)
        psi = _psi(truncation)
        return generate.images(model, self.variables, z, chosen, truncation=psi, as_float=True)

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
        chosen, numbers = self.chosen(None, None, labels, indices)
        require(len(numbers) > 0, "attention of no image; allowed: one or more")
        z = self.latents(numbers, seed) * np.float32(_psi(truncation))
        maps = generate.attention_maps(self.config.model, self.variables, z, chosen)
        require(bool(maps), "this generator has no attention layer (model.attention is empty)")
        return maps

    def latents(self, indices: ArrayLike, seed: int = 0) -> Float[np.ndarray, "N Z"]:
        """Draws the latent of each index from the standard normal distribution.

        Raises: ConfigError if an index or the seed is not a whole number in [0, 2**32).
        """
        numbers = _whole_numbers(indices, "indices", 2**32)
        require(_is_whole(seed), f"seed={seed!r}; allowed: whole numbers 0 … {2**32 - 1}")
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
        if labels is None and indices is None:
            return self._some_of(classes, num)
        require(
            classes is None and num is None,
            "classes and num choose images, and so do labels and indices; allowed: one pair",
        )
        found = self._labels(labels, weights=False)
        if indices is None:
            assert found is not None  # else `_labels` had raised, or both were None
            return found, np.arange(len(found))
        numbers = _whole_numbers(indices, "indices", 2**32)
        if found is not None:
            _require_as_many(found, "labels", numbers, "indices")
        return found, numbers

    def _some_of(
        self, classes: Sequence[str | int] | str | int | None, num: int | None
    ) -> tuple[Int[np.ndarray, " N"] | None, Int[np.ndarray, " N"]]:
        count = 1 if num is None else num
        require(_is_whole(count) and count >= 1, f"num={num!r}; allowed: whole numbers >= 1")
        if classes is not None:
            found = self.find(classes)
            labels = np.repeat(np.array(found, np.int32), count)
            return labels, np.tile(np.arange(count), len(found))
        indices = np.arange(count)
        if not self.class_names:
            return None, indices
        return (indices % len(self.class_names)).astype(np.int32), indices

    def _labels(self, labels: ArrayLike | None, *, weights: bool) -> Any:
        """Returns checked labels: int32 (N,), float32 (N, K) if `weights` are allowed, or None."""
        count = len(self.class_names)
        if not count:
            require(labels is None, "labels were given, but this model is unconditional")
            return None
        if labels is None:
            raise ConfigError(
                f"labels=None, but this model has {count} classes; allowed: numbers "
                f"0 … {count - 1} (see class_names)"
            )
        array = np.asarray(labels)
        if weights and array.ndim == 2 and array.dtype.kind == "f":
            return _checked_weights(array, count)
        return _whole_numbers(array, "labels", count).astype(np.int32)


def _psi(truncation: float | None) -> float:
    require_truncation(truncation)
    return 1.0 if truncation is None else float(truncation)


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _whole_numbers(values: ArrayLike, name: str, limit: int) -> Int[np.ndarray, " N"]:
    """Returns an array (N,). Raises: ConfigError unless all are whole and in [0, limit)."""
    array = np.asarray(values)
    allowed = f"allowed: whole numbers 0 … {limit - 1}"
    require(array.ndim == 1, f"{name} have shape {array.shape}; allowed: (N,)")
    if not array.size:
        return np.zeros(0, np.int64)
    require(array.dtype.kind in "iu", f"{name} are {array.dtype} ({array[0]!r}, …); {allowed}")
    wrong = array[(array < 0) | (array >= limit)]
    require(not wrong.size, f"{name} have {wrong[:1].tolist()}; {allowed}")
    return array.astype(np.int64)


def _checked_weights(weights: np.ndarray, count: int) -> Float[np.ndarray, "N K"]:
    require(
        weights.shape[1] == count,
        f"labels have shape {weights.shape}; allowed: (N,), or weights of classes (N, {count})",
    )
    sums = np.abs(weights.sum(1) - 1)
    require(
        bool((weights >= 0).all() and (sums <= _SUM_TOLERANCE).all()),
        "labels are weights of classes that are negative or do not add up to 1 in each row",
    )
    return weights.astype(np.float32)


def _require_as_many(a: np.ndarray, a_name: str, b: np.ndarray, b_name: str) -> None:
    require(len(a) == len(b), f"{len(a)} {a_name} and {len(b)} {b_name}; allowed: as many of both")
