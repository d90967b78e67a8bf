"""A trained generator that draws images by seed, index and class."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from sagan.config import Config, ConfigError
from sagan.tasks.gan import generate

_NAMED_CLASSES = 12  # in an error


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A checkpoint's averaged generator. Image i depends on seed, i and its class alone.

    Attributes:
      step: of the checkpoint.
      class_names: one for each label; empty if the model is unconditional.
      variables: as `inference.averaged` returns them.
    """

    config: Config
    step: int
    class_names: tuple[str, ...]
    variables: Any

    def __call__(
        self,
        labels: Int[np.ndarray, " N"] | None,
        indices: Int[np.ndarray, " N"],
        *,
        seed: int = 0,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "N S S 3"]:
        """Draws one image for each index.

        Args:
          labels: classes, or None if the model is unconditional.
          truncation: psi in (0, 1]; latents are multiplied by it, which makes images more alike.
            None means 1.
        """
        return self.images(self.latents(indices, seed), labels, truncation=truncation)

    def images(
        self,
        z: Float[np.ndarray, "N Z"],
        labels: Int[np.ndarray, " N"] | None,
        *,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "N S S 3"]:
        """Draws one image for each latent."""
        psi = 1.0 if truncation is None else truncation
        return generate.images(self.config.model, self.variables, z, labels, truncation=psi)

    def attention_maps(
        self, z: Float[np.ndarray, "N Z"], labels: Int[np.ndarray, " N"] | None
    ) -> dict[str, Float[np.ndarray, "N Q K"]]:
        """Returns each attention layer's map for each latent; rows are queries and sum to 1."""
        return generate.attention_maps(self.config.model, self.variables, z, labels)

    def latents(self, indices: Int[np.ndarray, " N"], seed: int) -> Float[np.ndarray, "N Z"]:
        """Draws the latent of each index."""
        model: Any = self.config.model
        return generate.draw_latents(seed, indices, model.z_dim)

    def find(self, names: Sequence[str]) -> list[int]:
        """Returns the labels of classes that are given by name or number.

        Raises: ConfigError if there is no such class; the message lists the known ones.
        """
        if not self.class_names:
            raise ConfigError("this model is unconditional: it has no classes to choose from")
        found = []
        for name in map(str.strip, names):
            if name in self.class_names:
                found.append(self.class_names.index(name))
            elif name.isdecimal() and int(name) < len(self.class_names):
                found.append(int(name))
            else:
                known = ", ".join(self.class_names[:_NAMED_CLASSES])
                more = ", …" if len(self.class_names) > _NAMED_CLASSES else ""
                raise ConfigError(
                    f"no class {name!r}; allowed: 0 … {len(self.class_names) - 1}, or {known}{more}"
                )
        return found
