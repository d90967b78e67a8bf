"""Image Transformer: predicts the intensities of an image; for the task `image_transformer`.

Source: Image Transformer (arXiv:1802.05751) and its code in tensor2tensor.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sagan.config import ModelConfig
from sagan.config.fields import Count, CountOrZero, Fraction, Limits, Positive, require
from sagan.models.layers.causal import Cache, Layout
from sagan.models.layers.intensities import Categorical, Logistics
from sagan.models.layers.pixel_inputs import Reader, Signals
from sagan.models.layers.transformer import KeysValues, Layer, dropout, look_everywhere


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """The Image Transformer's fields of the section `model`."""

    name: str = "image_transformer"
    # Channels of the images: 3, or 1 for sets whose images are all grey.
    channels: Count = 3
    # Number of grey levels of each channel; images with more are rounded to so many.
    levels: Annotated[int, Limits(at_least=2, below=257)] = 256
    # "categorical": a probability for each level, channel after channel. "logistics": a mixture of
    # discretised logistic distributions, pixel after pixel.
    output: Literal["categorical", "logistics"] = "categorical"
    # Components of the mixture of "logistics".
    mixtures: Count = 10
    # Layers, each of attention and a network applied to every position.
    layers: Count = 12
    # Values that represent a position.
    features: Count = 512
    # Attention heads of each layer.
    heads: Count = 4
    # Channels of the queries, and of the keys and values, of all heads; none: as `features`.
    attention_channels: Count | None = None
    # Hidden values of the network that is applied to every position.
    feed_forward: Count = 2048
    # "full": a position looks at all earlier ones. "local_1d": at those of its block, and some
    # before. "local_2d": blocks and their memory are rectangles, generated block by block.
    attention: Literal["full", "local_1d", "local_2d"] = "local_1d"
    # Positions of a block: their number (local_1d), or height,width (local_2d). A row has a
    # position for each pixel, or with "categorical" for each channel of each pixel.
    block: tuple[int, ...] = (256,)
    # Positions outside its block that a block sees: their number before it (local_1d), or rows
    # above it and columns on either side (local_2d).
    memory: tuple[int, ...] = (256,)
    # How a position's row and column are told: by sines and cosines, or by what is learned.
    positions: Literal["sinusoids", "learned"] = "sinusoids"
    # Probability with which the results of a layer's parts are set to zero in training.
    dropout: Fraction = 0.1
    # Variance of initial kernels, times the mean of their inputs and outputs.
    init_gain: Positive = 0.2
    # Size in pixels of a small copy of the image, which an encoder reads; 0: there is none.
    low_resolution: CountOrZero = 0
    # Layers of the encoder.
    encoder_layers: Count = 4


def check(config: Config) -> None:
    """Raises: ConfigError where fields do not fit one another."""
    require(config.channels in (1, 3), f"model.channels={config.channels}; allowed: 1, 3")
    channels = config.attention_channels or config.features
    require(
        channels % config.heads == 0,
        f"model.heads={config.heads} does not divide the {channels} channels of attention",
    )
    require(
        config.positions == "learned" or config.features % 4 == 0,
        f"model.features={config.features} with sinusoids; allowed: multiples of 4",
    )
    low = config.low_resolution
    require(
        low == 0 or (low < config.image_size and config.image_size % low == 0),
        f"model.low_resolution={low}; allowed: 0, or a divisor of model.image_size="
        f"{config.image_size}",
    )
    _check_blocks(config)


def _check_blocks(config: Config) -> None:
    if config.attention == "full":
        return
    rank = 1 if config.attention == "local_1d" else 2
    for name, least in (("block", 1), ("memory", 0)):
        sizes = getattr(config, name)
        require(
            len(sizes) == rank and min(sizes) >= least,
            f"model.{name}={','.join(map(str, sizes))} with model.attention={config.attention}; "
            f"allowed: {('a number', 'height,width')[rank - 1]} of at least {least}",
        )
    if rank == 2:
        layout, (h, w) = layout_of(config), config.block
        require(
            layout.rows % h == 0 and layout.columns % w == 0,
            f"model.block={h},{w} does not divide the {layout.rows} x {layout.columns} positions",
        )


def build(
    config: Config, axis_name: Any = None, axis_index_groups: Any = None, platform: Any = None
) -> "ImageTransformer":
    """Returns the network; it is the same on all hardware, and has no batch statistics."""
    return ImageTransformer(config)


def _columns(config: Config, size: int) -> int:
    return size * (config.channels if config.output == "categorical" else 1)


def layout_of(config: Config) -> Layout:
    """Returns in which order the positions of an image are generated, and what each looks at."""
    size = config.image_size, _columns(config, config.image_size)
    return Layout(config.attention, *size, config.block, config.memory)


def distribution_of(config: Config) -> Categorical | Logistics:
    """Returns the distribution that the network's results mean."""
    if config.output == "categorical":
        return Categorical(config.levels)
    return Logistics(config.levels, config.channels, config.mixtures)


def tokens_of(config: Config, image: Float[Array, "S S 3"]) -> Int[Array, "L W"]:
    """Returns the levels of an image in [-1, 1], in the order in which they are generated.

    With one channel the first is taken, as the others are the same.
    """
    layout = layout_of(config)
    return layout.to_order(_levels(config, image).reshape(layout.length, -1))


def _levels(config: Config, image: Float[Array, "S S 3"]) -> Int[Array, "S S C"]:
    levels = jnp.round((image[..., : config.channels] + 1) * ((config.levels - 1) / 2))
    return levels.astype(jnp.int32)


def small_of(config: Config, image: Float[Array, "S S 3"]) -> Int[Array, "l W"]:
    """Returns the levels of the small copy: means of squares of pixels, in raster order."""
    size, side = config.low_resolution, len(image) // config.low_resolution
    small = image.reshape(size, side, size, side, 3).mean((1, 3))
    return _levels(config, small).reshape(size * _columns(config, size), -1)


def image_of(config: Config, tokens: Int[Array, "L W"]) -> Float[Array, "S S 3"]:
    """Returns the image in [-1, 1] whose levels these are."""
    size = config.image_size
    levels = layout_of(config).to_raster(tokens).reshape(size, size, config.channels)
    image = levels.astype(jnp.float32) * (2 / (config.levels - 1)) - 1
    return jnp.broadcast_to(image, (size, size, 3))


class Given(NamedTuple):
    """What predictions depend on beside earlier positions: places and class, and the small copy.

    The small copy is there as keys and values for each layer; None if there is none.
    """

    signals: Float[Array, "L D"]
    sources: tuple[KeysValues | None, ...]


class ImageTransformer(nn.Module):
    """Predicts each position of one image from the earlier ones. Results are float32 (L, F).

    Map it over a batch with `jax.vmap`. L, the number of positions, and their order are those of
    `layout_of`; the F numbers for each are the parameters of `distribution_of`.
    """

    config: Config

    def setup(self) -> None:
        config = self.config
        self.layout, self.distribution = layout_of(config), distribution_of(config)
        self.read, self.signals = self._inputs(config.image_size)
        if config.num_classes is not None:
            self.classes = nn.Embed(
                int(config.num_classes), config.features, embedding_init=self._kernel_init()
            )
        crosses = bool(config.low_resolution)
        self.layers = [self._layer(crosses) for _ in range(config.layers)]
        self.head = nn.Dense(
            self.distribution.features,
            use_bias=config.output == "categorical",
            kernel_init=self._kernel_init(),
        )
        if crosses:
            self.encoder_read, self.encoder_signals = self._inputs(config.low_resolution)
            self.encoder = [self._layer(False) for _ in range(config.encoder_layers)]

    def _kernel_init(self) -> nn.initializers.Initializer:
        return nn.initializers.variance_scaling(self.config.init_gain, "fan_avg", "uniform")

    def _inputs(self, size: int) -> tuple[Reader, Signals]:
        config, init = self.config, self._kernel_init()
        categorical, learned = config.output == "categorical", config.positions == "learned"
        return (
            Reader(categorical, config.levels, config.channels, config.features, init),
            Signals(size, _columns(config, size), config.features, learned),
        )

    def _layer(self, crosses: bool) -> Layer:
        config = self.config
        return Layer(
            config.heads,
            config.attention_channels or config.features,
            config.features,
            config.feed_forward,
            config.dropout,
            self._kernel_init(),
            crosses,
            jnp.dtype(config.dtype),
        )

    def __call__(
        self,
        tokens: Int[Array, "L W"],
        label: Int[Array, ""] | None = None,
        small: Int[Array, "l W"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "L F"]:
        """Predicts all positions at once; each result depends on earlier positions alone.

        Args:
          tokens: as `tokens_of` returns them.
          small: the levels of the small copy, as `small_of` returns them, if there is one.
          train: apply dropout, whose key is the flax rng `dropout`.
        """
        given = self.given(label, small, train=train)
        x = self.layout.shift(self.read(tokens, self._channels()))
        x = self._start(x + given.signals, train)
        for layer, source in zip(self.layers, given.sources, strict=True):
            x, _ = layer(x, source, self.layout.attend, train=train)
        return self.head(x.astype(jnp.float32))

    def given(
        self, label: Int[Array, ""] | None, small: Int[Array, "l W"] | None, *, train: bool = False
    ) -> Given:
        """Computes what does not depend on the image; see `step`."""
        signals = self.layout.to_order(self.signals())
        if label is not None:
            signals = signals + self.classes(label)[None] * math.sqrt(self.config.features)
        if small is None:
            return Given(signals, (None,) * self.config.layers)
        x = self.encoder_read(small, jnp.arange(len(small)) % self.config.channels)
        x = self._start(x + self.encoder_signals(), train)
        for layer in self.encoder:
            x, _ = layer(x, None, look_everywhere, train=train)
        return Given(signals, tuple(layer.source_of(x) for layer in self.layers))

    def step(
        self,
        before: Int[Array, "1 W"],
        time: Int[Array, ""],
        cache: Sequence[Cache],
        given: Given,
    ) -> tuple[Float[Array, " F"], tuple[Cache, ...]]:
        """Predicts one position, with the keys and values of earlier ones.

        Args:
          before: the level or levels at the position generated last.
          time: number of positions generated before.
          cache: for each layer, from `empty_cache` or the step before.
        """
        channel = self._channels()[jnp.maximum(time - 1, 0)][None]
        is_first = time % self.layout.shifted_within == 0
        x = jnp.where(is_first, 0, self.read(before, channel))
        x = self._start(x + given.signals[time][None], False)
        caches = []
        for layer, source, old in zip(self.layers, given.sources, cache, strict=True):
            attend = functools.partial(self.layout.attend_once, cache=old, time=time)
            x, new = layer(x, source, attend, train=False)
            caches.append(new)
        return self.head(x.astype(jnp.float32))[0], tuple(caches)

    def empty_cache(self) -> tuple[Cache, ...]:
        """Returns the cache before the first position, for one image."""
        config = self.config
        channels = (config.attention_channels or config.features) // config.heads
        zeros = jnp.zeros((config.heads, self.layout.length, channels), jnp.dtype(config.dtype))
        return tuple((zeros, zeros) for _ in range(config.layers))

    def _channels(self) -> Int[Array, " L"]:
        """Returns the channel of each position, where positions are channels of pixels."""
        return self.layout.to_order(jnp.arange(self.layout.length) % self.config.channels)

    def _start(self, x: Float[Array, "n D"], train: bool) -> Float[Array, "n D"]:
        if train and self.config.dropout:
            x = dropout(x, self.config.dropout, self.make_rng("dropout"))
        return x.astype(jnp.dtype(self.config.dtype))
