"""What is done to every image that the discriminator sees: one row of `AUGMENTATIONS` for each.

`train.augment` names any number of them, applied in order: `color,translation,cutout` is
DiffAugment, `bgc` the pipeline of ADA. `module:name` takes a function from a module of your own.

An augmentation is called as `augmentation(key, p, image)` with one image (H, W, C) in [-1, 1], and
returns an image of that size, which may leave the range. `p` is the probability of each of its
operations. Gradients flow through all of them to the image.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key

from sagan.config import plugins
from sagan.tasks.gan.colours import below, colours, normal

Image = Float[Array, "H W C"]
OneKey = Key[Array, ""]
Augmentation = Callable[[OneKey, Any, Image], Image]


def apply(
    augmentations: Sequence[Augmentation], p: Any, image: Float[Array, "B H W C"], keys: Any
) -> Float[Array, "B H W C"]:
    """Augments each image with the key of its own, which does not depend on the other images."""
    if not augmentations:
        return image

    def one(key: OneKey, x: Image) -> Image:
        for number, augmentation in enumerate(augmentations):
            x = augmentation(jax.random.fold_in(key, number), p, x)
        return x

    return jax.vmap(one)(keys, image)


def color(key: OneKey, p: Any, image: Image) -> Image:
    """DiffAugment (arXiv:2006.10738): random brightness, then saturation, then contrast.

    Adds U(-1/2, 1/2); scales distances from each pixel's mean by U(0, 2), then distances from the
    image's mean by U(1/2, 3/2).
    """
    gate, brightness, saturation, contrast = jax.random.uniform(key, (4,))
    x = image + brightness - 0.5
    grey = x.mean(-1, keepdims=True)
    x = (x - grey) * (2 * saturation) + grey
    mean = x.mean()
    return _gated(gate, p, (x - mean) * (contrast + 0.5) + mean, image)


def translation(key: OneKey, p: Any, image: Image) -> Image:
    """DiffAugment: moves the image by up to an eighth of its size in each direction, with zeros."""
    gate, *draws = jax.random.uniform(key, (3,))
    most = [int(size * 0.125 + 0.5) for size in image.shape[:2]]
    starts = [below(2 * m + 1, u) for u, m in zip(draws, most, strict=True)]
    padded = jnp.pad(image, [(m, m) for m in most] + [(0, 0)])
    moved = jax.lax.dynamic_slice(padded, (*starts, 0), image.shape)
    return _gated(gate, p, moved, image)


def cutout(key: OneKey, p: Any, image: Image) -> Image:
    """DiffAugment: zeros a square of half the size around a random pixel."""
    gate, *draws = jax.random.uniform(key, (3,))
    inside = []
    for u, size in zip(draws, image.shape[:2], strict=True):
        side = int(size * 0.5 + 0.5)
        first = below(size + (1 - side % 2), u) - side // 2
        position = jnp.arange(size)
        inside.append((position >= first) & (position < first + side))
    hole = inside[0][:, None, None] & inside[1][None, :, None]
    return _gated(gate, p, jnp.where(hole, 0.0, image), image)


def bgc(key: OneKey, p: Any, image: Image) -> Image:
    """ADA (arXiv:2006.06676): mirroring, quarter turns, moves, scales, turns, then colours."""
    geometry_key, colour_key = jax.random.split(key)
    return colours(colour_key, p, _geometry(geometry_key, p, image))


def bgc_r3gan(key: OneKey, p: Any, image: Image) -> Image:
    """R3GAN (arXiv:2501.05441): as `bgc`, with colours half as likely, and then cutout."""
    geometry_key, colour_key, cutout_key = jax.random.split(key, 3)
    image = colours(colour_key, 0.5 * p, _geometry(geometry_key, p, image))
    return cutout(cutout_key, p, image)


def _gated(draw: Any, p: Any, changed: Image, image: Image) -> Image:
    return jnp.where(draw < p, changed, image)


def _geometry(key: OneKey, p: Any, image: Image) -> Image:
    """Applies ADA's blits and geometry as one map, with bilinear interpolation.

    Positions outside are reflected. Unlike ADA, the image is not filtered before and after it: a
    wavelet filter wider than small images have borders would be most of the cost.
    """
    height, width = image.shape[:2]
    to_source = inverse_map(key, p, height, width)
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    centre = jnp.array([(width - 1) / 2, (height - 1) / 2])
    points = jnp.stack([x - centre[0], y - centre[1], jnp.ones_like(x)], -1) @ to_source.T
    at = [points[..., 1] + centre[1], points[..., 0] + centre[0]]
    sample = lambda channel: map_coordinates(channel, at, order=1, mode="mirror")  # noqa: E731
    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)


def inverse_map(key: OneKey, p: Any, height: int, width: int) -> Float[Array, "3 3"]:
    """Draws ADA's geometry: where a pixel (x, y, 1), seen from the centre, comes from."""
    gate, draw = jax.random.uniform(key, (2, 10))  # one call, because each is slow to compile
    size = jnp.array([width, height], jnp.float32)

    def when(number: int, probability: Any, value: Any, otherwise: Any = 0.0) -> Array:
        return jnp.where(gate[number] < probability, value, otherwise)

    half = 1 - jnp.sqrt(1 - jnp.clip(p, 0, 1))  # either of two turns, with probability p together
    mirrored = when(0, p, 1.0 * below(2, draw[0]))
    quarter = when(1, p, 1.0 * below(4, draw[1]))
    shift = when(2, p, jnp.round((draw[2:4] - 0.5) * 0.25 * size))
    scale = when(3, p, 2 ** (0.2 * normal(draw[4])), 1.0)
    before = when(4, half, (2 * draw[5] - 1) * jnp.pi)
    aspect = when(5, p, 2 ** (0.2 * normal(draw[6])), 1.0)
    after = when(6, half, (2 * draw[7] - 1) * jnp.pi)
    part = when(7, p, 0.125 * normal(draw[8:10]) * size)
    steps = (  # inverses, in the order in which the image is changed
        _scaled(1 - 2 * mirrored, 1.0),
        _turned(quarter * (jnp.pi / 2)),
        _moved(-shift),
        _scaled(1 / scale, 1 / scale),
        _turned(-before),
        _scaled(1 / aspect, aspect),
        _turned(-after),
        _moved(-part),
    )
    return jnp.linalg.multi_dot(steps, precision=jax.lax.Precision.HIGHEST)


def _scaled(x: Any, y: Any) -> Float[Array, "3 3"]:
    return jnp.diag(jnp.stack([jnp.asarray(v, jnp.float32) for v in (x, y, 1.0)]))


def _moved(by: Float[Array, "2"]) -> Float[Array, "3 3"]:
    return jnp.eye(3).at[:2, 2].set(by)


def _turned(angle: Any) -> Float[Array, "3 3"]:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.eye(3).at[:2, :2].set(jnp.array([[cos, -sin], [sin, cos]]))


AUGMENTATIONS: dict[str, Augmentation] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
    "bgc": bgc,
    "bgc_r3gan": bgc_r3gan,
}
_TARGET, _EVERY, _IMAGES_TO_ONE = 0.6, 4, 500_000  # of ADA


def find(name: str) -> Augmentation:
    """Returns the augmentation that an entry of `train.augment` names.

    Raises: ConfigError if there is no such row, or what `module:name` names is not a function.
    """
    return plugins.row(AUGMENTATIONS, name, field="train.augment", needs=("__call__",))


def adaptive_state() -> dict[str, Float[Array, ""]]:
    """Returns the first state of an adaptive probability, which is 0."""
    return {name: jnp.zeros(()) for name in ("p", "signs", "updates")}


def adapted(
    state: dict[str, Float[Array, ""]], real_above_zero: Float[Array, ""], batch_size: int
) -> dict[str, Float[Array, ""]]:
    """Returns the state after an update of the discriminator.

    Every 4 updates, the probability moves up if the mean sign of the real images' logits is above
    0.6, else down, as fast as from 0 to 1 in 500,000 images. It stays in [0, 1].

    Args:
      real_above_zero: fraction of the real images, on all devices, whose logit is above 0.

    Source: ADA (arXiv:2006.06676), Section 3.1.
    """
    signs, updates = state["signs"] + 2 * real_above_zero - 1, state["updates"] + 1
    due = updates >= _EVERY
    move = jnp.sign(signs / updates - _TARGET) * (batch_size * _EVERY / _IMAGES_TO_ONE)
    p = jnp.where(due, jnp.clip(state["p"] + move, 0, 1), state["p"])
    return {"p": p, "signs": jnp.where(due, 0.0, signs), "updates": jnp.where(due, 0.0, updates)}
