"""The FID Inception network of 2015-12-05, with batch norm folded into its convolutions.

Layers have the names of the original graph with `_` for `/`, such as `mixed_4_tower_1_conv_2`.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

OUTPUTS = {"spatial": 2023, "pool_768": 768, "pool": 2048, "logits_unbiased": 1008, "logits": 1008}
INPUT_SIZE = 299

_SPATIAL_CHANNELS = 7
_VALID, _SAME = "VALID", "SAME"


class Inception(nn.Module):
    """Computes the named outputs of images that are resized and scaled to about [-1, 1].

    `pool_768` is the mean over positions of `mixed_7` (torchvision's Mixed_6e), `pool` that of
    `mixed_10` (`pool_3` in the graph). `logits_unbiased` leaves out the bias of the last layer, as
    the original Inception Score does. `spatial` is what sFID reads: the first 7 channels of the
    1x1 branch of `mixed_6` after its ReLU (`mixed_6/conv:0` in the graph, torchvision's Mixed_6d),
    17 x 17 x 7, row by row. `mixed_7` is the map whose mean is `pool_768`: no score reads it, but
    captioners look at it.

    Attributes:
      outputs: those to compute; layers behind the last of them are not built.

    Source: Szegedy et al. (arXiv:1512.00567), as frozen in `inception-2015-12-05.tgz`, which
      differs: average pools leave padding out of the divisor, `mixed_10` pools by maximum.
    """

    outputs: Sequence[str]

    @nn.compact
    def __call__(self, x: Float[Array, "B H W 3"]) -> dict[str, Float[Array, "B ..."]]:
        found = {}
        x = _conv(x, *_weights("conv", 3, 3, 3, 32), stride=2, padding=_VALID)
        x = _conv(x, *_weights("conv_1", 3, 3, 32, 32), padding=_VALID)
        x = _max_pool(_conv(x, *_weights("conv_2", 3, 3, 32, 64)))
        x = _conv(x, *_weights("conv_3", 1, 1, 64, 80))
        x = _max_pool(_conv(x, *_weights("conv_4", 3, 3, 80, 192), padding=_VALID))
        for name, pool_channels in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
            x = _block_35(x, name, pool_channels)
        x = _reduce_to_17(x)
        x = _block_17(x, "mixed_4", 128)
        x = _block_17(x, "mixed_5", 160)
        if set(self.outputs) == {"spatial"}:
            kernel, bias = _weights("mixed_6_conv", 1, 1, 768, 192)
            x = _conv(x, kernel[..., :_SPATIAL_CHANNELS], bias[:_SPATIAL_CHANNELS])
            return {"spatial": x.reshape(len(x), -1)}
        x = _block_17(x, "mixed_6", 160)
        if "spatial" in self.outputs:
            found["spatial"] = x[..., :_SPATIAL_CHANNELS].reshape(len(x), -1)
        x = _block_17(x, "mixed_7", 192)
        found |= {"mixed_7": x, "pool_768": x.mean((1, 2))}
        if set(self.outputs) - {"spatial", "pool_768", "mixed_7"}:
            x = _block_8(_reduce_to_8(x), "mixed_9", pool="average")
            x = _block_8(x, "mixed_10", pool="max")
            found["pool"] = x.mean((1, 2))
        if {"logits", "logits_unbiased"} & set(self.outputs):
            kernel, bias = _Weights((2048, 1008), name="softmax")()
            logits = jnp.dot(found["pool"], kernel, precision=lax.Precision.HIGHEST)
            found |= {"logits_unbiased": logits, "logits": logits + bias[None]}
        return {name: found[name] for name in self.outputs}


@functools.cache
def layers_of(outputs: tuple[str, ...]) -> Mapping[str, Mapping]:
    """Returns the layers that `outputs` need, with the shapes of their `kernel` and `bias`."""
    image = jax.ShapeDtypeStruct((1, INPUT_SIZE, INPUT_SIZE, 3), jnp.float32)
    return jax.eval_shape(Inception(outputs).init, jax.random.key(0), image)["params"]


class _Weights(nn.Module):
    """The kernel and bias of one layer; zeros, to be replaced by those of a file."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        kernel = self.param("kernel", nn.initializers.zeros, self.shape)
        return kernel, self.param("bias", nn.initializers.zeros, self.shape[-1:])


def _weights(name: str, height: int, width: int, inputs: int, features: int) -> tuple[Array, Array]:
    return _Weights((height, width, inputs, features), name=name)()


def _conv(x: Array, kernel: Array, bias: Array, *, stride: int = 1, padding: str = _SAME) -> Array:
    """Applies convolution, bias and ReLU."""
    return nn.relu(_linear(x, kernel, stride, padding) + bias.reshape(1, 1, 1, -1))


def _linear(x: Array, kernel: Array, stride: int = 1, padding: str = _SAME) -> Array:
    height, width = kernel.shape[:2]
    if padding == _VALID:
        # XLA on CPUs runs unpadded convolutions 2 to 4 times slower than padded ones, so one row
        # of zeros is added at the bottom, and the output row that reads it is cut off below. With
        # stride 2 and an odd height no output row reads it.
        pads = ((0, 1), (0, 0))
    else:
        pads = ((height // 2, height // 2), (width // 2, width // 2))
    y = lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    return y[:, : (x.shape[1] - height) // stride + 1] if padding == _VALID else y


def _pointwise(x: Array, layers: dict[str, int], *, pool: bool = False) -> list[Array]:
    """Runs 1x1 layers side by side as one product; with `pool`, the last one on 3x3 averages.

    The average is taken after the product and before the bias. The two commute, and there are
    fewer channels after the product.
    """
    pairs = [_weights(name, 1, 1, x.shape[-1], features) for name, features in layers.items()]
    y = _linear(x, jnp.concatenate([kernel for kernel, _ in pairs], -1))
    ends = list(itertools.accumulate(layers.values()))
    parts = jnp.split(y, ends[:-1], -1)
    if pool:
        parts[-1] = _average(parts[-1])
    return [
        nn.relu(part + bias.reshape(1, 1, 1, -1))
        for part, (_, bias) in zip(parts, pairs, strict=True)
    ]


def _block_35(x: Array, name: str, pool_features: int) -> Array:
    """Applies four branches: 1x1; 5x5; 3x3 twice; average pooling."""
    ones, fives, threes, pool = _pointwise(
        x,
        {
            f"{name}_conv": 64,
            f"{name}_tower_conv": 48,
            f"{name}_tower_1_conv": 64,
            f"{name}_tower_2_conv": pool_features,
        },
        pool=True,
    )
    fives = _conv(fives, *_weights(f"{name}_tower_conv_1", 5, 5, 48, 64))
    threes = _conv(threes, *_weights(f"{name}_tower_1_conv_1", 3, 3, 64, 96))
    threes = _conv(threes, *_weights(f"{name}_tower_1_conv_2", 3, 3, 96, 96))
    return jnp.concatenate([ones, fives, threes, pool], -1)


def _reduce_to_17(x: Array) -> Array:
    """Reduces 35 x 35 x 288 to 17 x 17 x 768."""
    kernel, bias = _weights("mixed_3_conv", 3, 3, 288, 384)
    single = _conv(x, kernel, bias, stride=2, padding=_VALID)
    double = _conv(x, *_weights("mixed_3_tower_conv", 1, 1, 288, 64))
    double = _conv(double, *_weights("mixed_3_tower_conv_1", 3, 3, 64, 96))
    kernel, bias = _weights("mixed_3_tower_conv_2", 3, 3, 96, 96)
    double = _conv(double, kernel, bias, stride=2, padding=_VALID)
    return jnp.concatenate([single, double, _max_pool(x)], -1)


def _block_17(x: Array, name: str, width: int) -> Array:
    """Applies four branches: 1x1; one pair of 1x7 and 7x1; two pairs; average pooling."""
    ones, single, double, pool = _pointwise(
        x,
        {
            f"{name}_conv": 192,
            f"{name}_tower_conv": width,
            f"{name}_tower_1_conv": width,
            f"{name}_tower_2_conv": 192,
        },
        pool=True,
    )
    single = _conv(single, *_weights(f"{name}_tower_conv_1", 1, 7, width, width))
    single = _conv(single, *_weights(f"{name}_tower_conv_2", 7, 1, width, 192))
    double = _conv(double, *_weights(f"{name}_tower_1_conv_1", 7, 1, width, width))
    double = _conv(double, *_weights(f"{name}_tower_1_conv_2", 1, 7, width, width))
    double = _conv(double, *_weights(f"{name}_tower_1_conv_3", 7, 1, width, width))
    double = _conv(double, *_weights(f"{name}_tower_1_conv_4", 1, 7, width, 192))
    return jnp.concatenate([ones, single, double, pool], -1)


def _reduce_to_8(x: Array) -> Array:
    """Reduces 17 x 17 x 768 to 8 x 8 x 1280."""
    threes, sevens = _pointwise(x, {"mixed_8_tower_conv": 192, "mixed_8_tower_1_conv": 192})
    kernel, bias = _weights("mixed_8_tower_conv_1", 3, 3, 192, 320)
    threes = _conv(threes, kernel, bias, stride=2, padding=_VALID)
    sevens = _conv(sevens, *_weights("mixed_8_tower_1_conv_1", 1, 7, 192, 192))
    sevens = _conv(sevens, *_weights("mixed_8_tower_1_conv_2", 7, 1, 192, 192))
    kernel, bias = _weights("mixed_8_tower_1_conv_3", 3, 3, 192, 192)
    sevens = _conv(sevens, kernel, bias, stride=2, padding=_VALID)
    return jnp.concatenate([threes, sevens, _max_pool(x)], -1)


def _block_8(x: Array, name: str, *, pool: str) -> Array:
    """Applies four branches: 1x1; 1x3 beside 3x1; 3x3, then 1x3 beside 3x1; pooling."""
    layers = {f"{name}_conv": 320, f"{name}_tower_conv": 384, f"{name}_tower_1_conv": 448}
    if pool == "average":
        parts = _pointwise(x, {**layers, f"{name}_tower_2_conv": 192}, pool=True)
        ones, single, double, pooled = parts
    else:
        ones, single, double = _pointwise(x, layers)
        kernel, bias = _weights(f"{name}_tower_2_conv", 1, 1, x.shape[-1], 192)
        pooled = _conv(_max_pool(x, stride=1, padding=1), kernel, bias)
    double = _conv(double, *_weights(f"{name}_tower_1_conv_1", 3, 3, 448, 384))
    return jnp.concatenate(
        [
            ones,
            *_cross(single, f"{name}_tower_mixed"),
            *_cross(double, f"{name}_tower_1_mixed"),
            pooled,
        ],
        -1,
    )


def _cross(x: Array, name: str) -> tuple[Array, Array]:
    wide = _conv(x, *_weights(f"{name}_conv", 1, 3, 384, 384))
    return wide, _conv(x, *_weights(f"{name}_conv_1", 3, 1, 384, 384))


def _max_pool(x: Array, *, stride: int = 2, padding: int = 0) -> Array:
    """Takes 3x3 maxima over shifted views, which is 3 to 5 times faster on CPUs than a window."""
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (padding, padding)
        x = jnp.pad(x, pads, constant_values=-jnp.inf)
        last = x.shape[axis] - 3
        views = [lax.slice_in_dim(x, i, i + last + 1, stride=stride, axis=axis) for i in range(3)]
        x = jnp.maximum(jnp.maximum(views[0], views[1]), views[2])
    return x


def _average(x: Array) -> Array:
    """Takes 3x3 averages at stride 1; padding does not count in the divisor."""
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (1, 1)
        size = x.shape[axis]
        padded = jnp.pad(x, pads)
        views = [lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)]
        x = views[0] + views[1] + views[2]
        inside = jnp.full((size,), 3.0).at[jnp.array([0, size - 1])].set(2.0)
        x = x / jnp.expand_dims(inside, [0, 2, 3] if axis == 1 else [0, 1, 3])
    return x
