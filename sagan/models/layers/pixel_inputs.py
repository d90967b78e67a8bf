"""What a transformer reads at the positions of an image: intensities, and where they are."""

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

_LONGEST_WAVE = 1e4


class Reader(nn.Module):
    """Turns levels into vectors.

    Attributes:
      categorical: a position is one channel of a pixel, and each channel has a table with a row for
        each level. Otherwise it is a whole pixel, whose intensities in [-1, 1] are mapped linearly.
    """

    categorical: bool
    levels: int
    channels: int
    features: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, tokens: Int[Array, "n W"], channel: Int[Array, " n"]) -> Float[Array, "n D"]:
        """Reads positions; `channel` says of which channels they are, if they are of one."""
        if not self.categorical:
            x = tokens.astype(jnp.float32) * (2 / (self.levels - 1)) - 1
            return nn.relu(nn.Dense(self.features, kernel_init=self.kernel_init)(x))
        table = nn.Embed(
            self.channels * self.levels, self.features, embedding_init=self.kernel_init
        )
        return table(tokens[:, 0] + self.levels * channel) * math.sqrt(self.features)


class Signals(nn.Module):
    """Tells positions apart: by what is learned of their row and column, or by sines and cosines.

    Sines and cosines of the row are one half of the features, and those of the column the other.
    """

    rows: int
    columns: int
    features: int
    learned: bool

    @nn.compact
    def __call__(self) -> Float[Array, "L D"]:
        """Returns the signals of all positions, in raster order."""
        if self.learned:
            init = nn.initializers.normal(self.features**-0.5)
            rows = self.param("rows", init, (self.rows, self.features))
            columns = self.param("columns", init, (self.columns, self.features))
            return (rows[:, None] + columns[None]).reshape(-1, self.features) * math.sqrt(
                self.features
            )
        half = self.features // 2
        shape = (self.rows, self.columns, half)
        parts = _waves(self.rows, half)[:, None], _waves(self.columns, half)
        both = np.concatenate([np.broadcast_to(part, shape) for part in parts], -1)
        return jnp.asarray(both.reshape(-1, self.features))


def _waves(count: int, features: int) -> Float[np.ndarray, "n f"]:
    """Returns sines, then cosines, of 0 … count - 1, with wavelengths from 2 pi to 2 pi 10^4."""
    number = features // 2
    rates = _LONGEST_WAVE ** -(np.arange(number) / max(number - 1, 1))
    angles = np.arange(count)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)
