"""Distributions of the intensities of an image: how probable some are, and drawing them.

| output | a position is | what the network returns for it |
|---|---|---|
| `Categorical` | one channel of a pixel | a logit for each level |
| `Logistics` | a pixel | for each component of a mixture a logit, and for each channel a mean, a log scale and how the mean follows from the channels before it |

Levels are whole numbers 0 … levels - 1.
Source: Image Transformer (arXiv:1802.05751), Section 3.2; PixelCNN++ (arXiv:1701.05517), Section 2.
"""  # noqa: E501

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

_LEAST_LOG_SCALE = -7.0
_Temperature = float | Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Categorical:
    """A softmax over the levels of one channel."""

    levels: int
    width = 1  # levels at each position

    @property
    def features(self) -> int:
        return self.levels

    def log_probability(
        self, outputs: Float[Array, "L F"], tokens: Int[Array, "L 1"]
    ) -> Float[Array, " L"]:
        """Returns the natural logarithm of the probability of each position's level."""
        logits = jax.nn.log_softmax(outputs)
        return jnp.take_along_axis(logits, tokens, 1)[:, 0]

    def loss(
        self, outputs: Float[Array, "L F"], tokens: Int[Array, "L 1"], soften: float
    ) -> Float[Array, " L"]:
        """Returns the cross-entropy with targets that lie partly on the neighbouring levels.

        Args:
          soften: share of the probability that is moved to them, half to each. The lowest and the
            highest level keep theirs, since intensities are cut off there.
        """
        logits = jax.nn.log_softmax(outputs)
        beside = jnp.clip(tokens + jnp.array([[-1, 1]]), 0, self.levels - 1)
        of_level, of_neighbours = (
            jnp.take_along_axis(logits, chosen, 1).mean(1) for chosen in (tokens, beside)
        )
        inside = (tokens[:, 0] > 0) & (tokens[:, 0] < self.levels - 1)
        share = jnp.where(inside, soften, 0.0)
        return -((1 - share) * of_level + share * of_neighbours)

    def sample(
        self, key: Key[Array, ""], outputs: Float[Array, " F"], temperature: _Temperature
    ) -> Int[Array, " 1"]:
        """Draws a level. Logits are divided by `temperature`."""
        return jax.random.categorical(key, outputs / temperature)[None]


@dataclasses.dataclass(frozen=True)
class Logistics:
    """A mixture of logistic distributions, cut into the levels of all channels of a pixel.

    The intensities are spread over [-1, 1]. A level has the probability of the interval between the
    midpoints to its neighbours; the lowest and the highest have that of all that lies beyond.
    Deviation: that of a narrow interval is computed exactly, where PixelCNN++ uses the density.
    """

    levels: int
    channels: int
    mixtures: int

    @property
    def width(self) -> int:
        return self.channels

    @property
    def features(self) -> int:
        c = self.channels
        return self.mixtures * (1 + 2 * c + c * (c - 1) // 2)

    def log_probability(
        self, outputs: Float[Array, "L F"], tokens: Int[Array, "L C"]
    ) -> Float[Array, " L"]:
        """Returns the natural logarithm of the probability of each pixel's levels."""
        weights, means, scales, follow = self._parts(outputs)
        x = self._intensity(tokens)[:, None]  # (L, 1, C)
        means = jnp.stack(
            [self._mean(c, means, follow, x) for c in range(self.channels)], -1
        )  # (L, M, C)
        half = 1 / (self.levels - 1)
        upper, lower = ((x - means + side) * jnp.exp(-scales) for side in (half, -half))
        inside = (
            jax.nn.log_sigmoid(upper)
            + jax.nn.log_sigmoid(-lower)
            + jnp.log(-jnp.expm1(-2 * half * jnp.exp(-scales)))
        )
        token = tokens[:, None]
        of_level = jnp.where(token == 0, jax.nn.log_sigmoid(upper), inside)
        of_level = jnp.where(token == self.levels - 1, jax.nn.log_sigmoid(-lower), of_level)
        return jax.nn.logsumexp(jax.nn.log_softmax(weights) + of_level.sum(-1), -1)

    def loss(
        self, outputs: Float[Array, "L F"], tokens: Int[Array, "L C"], soften: float
    ) -> Float[Array, " L"]:
        """Returns the negative logarithm of the probability; there is nothing to soften."""
        del soften
        return -self.log_probability(outputs, tokens)

    def sample(
        self, key: Key[Array, ""], outputs: Float[Array, " F"], temperature: _Temperature
    ) -> Int[Array, " C"]:
        """Draws the levels of a pixel.

        Args:
          temperature: the logits of the mixture are divided by it, scales are multiplied by it.
        """
        weights, means, scales, follow = (x[0] for x in self._parts(outputs[None]))
        keys = jax.random.split(key, 1 + self.channels)
        chosen = jax.random.categorical(keys[0], weights / temperature)
        means, scales, follow = means[chosen], scales[chosen], follow[chosen]
        tokens = jnp.zeros(self.channels, jnp.int32)
        for c in range(self.channels):
            mean = self._mean(c, means, follow, self._intensity(tokens))
            x = mean + temperature * jnp.exp(scales[c]) * jax.random.logistic(keys[1 + c])
            level = jnp.round((jnp.clip(x, -1, 1) + 1) * ((self.levels - 1) / 2))
            tokens = tokens.at[c].set(level.astype(jnp.int32))
        return tokens

    def _parts(self, outputs: Float[Array, "L F"]) -> tuple[Array, ...]:
        """Splits outputs: weights (L, M); means, log scales (L, M, C); coefficients (L, M, _)."""
        m, c = self.mixtures, self.channels
        rest = outputs[:, m:].reshape(len(outputs), m, -1)
        means, scales, follow = jnp.split(rest, (c, 2 * c), -1)
        return outputs[:, :m], means, jnp.maximum(scales, _LEAST_LOG_SCALE), jnp.tanh(follow)

    @staticmethod
    def _mean(channel: int, means: Array, follow: Array, x: Array) -> Array:
        """Returns the mean of a channel, which follows from the intensities of those before it."""
        first = channel * (channel - 1) // 2
        mean = means[..., channel]
        for before in range(channel):
            mean = mean + follow[..., first + before] * x[..., before]
        return mean

    def _intensity(self, tokens: Int[Array, "*lead C"]) -> Float[Array, "*lead C"]:
        return tokens.astype(jnp.float32) * (2 / (self.levels - 1)) - 1
