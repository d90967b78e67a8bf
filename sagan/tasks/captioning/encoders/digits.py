"""A small network that has learnt to tell handwritten digits apart, for `scenes`.

It is trained on scikit-learn's training handwriting (see `data/sources/digits.py`) to classify
windows of 11 px: one of ten digits if one stands in the middle, to within 1.5 px, else "none". That
takes seconds on one core; the result is kept in the cache folder. It then sees a canvas as a
convolution, one window every 3 px. A window does not know where it lies, unlike the wide windows of
large networks, so its row and column in [-1, 1] are added to what it saw.
"""

import functools
import hashlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from sagan.config import DataConfig
from sagan.config.fields import require
from sagan.data import read
from sagan.data.sources import digits
from sagan.files import cache
from sagan.files.atomic import replacing

RECIPE_VERSION = "1"  # to be raised with every change that changes the trained weights
STRIDE = 3
WIDTH = 64 + 2  # what a window saw, and where it lies
_WINDOW = 11  # px that one annotation sees
_PAD = 4  # px of black around the canvas, so that windows begin at its edge
_SIDE = 8  # of a digit, in px
_SCALE = 0.25  # brings what windows saw to the size of their places
_NONE = 10  # the class of windows without a digit in the middle
_STEPS, _BATCH_SIZE, _LEARNING_RATE, _SEED = 1500, 128, 2e-3, 0


class Windows(nn.Module):
    """Three convolutions without borders: 11 px become one annotation."""

    @nn.compact
    def __call__(self, images: Float[Array, "B H W 1"]) -> Float[Array, "B h w 64"]:
        conv = functools.partial(
            nn.Conv, kernel_size=(3, 3), padding="VALID", kernel_init=nn.initializers.he_normal()
        )
        x = nn.relu(conv(32)(images))
        x = nn.relu(conv(64, strides=STRIDE)(x))
        return nn.relu(conv(64)(x))


def grid(image_size: int) -> int:
    """Returns the number of annotations along each side of a canvas.

    Raises: ConfigError unless windows every 3 px fill the canvas.
    """
    require(
        image_size % STRIDE == 0 and image_size >= _WINDOW,
        f"model.image_size={image_size}; encoder digits needs a multiple of {STRIDE}, "
        f"{_WINDOW} or more",
    )
    return image_size // STRIDE


def init(key: Array, image_size: int) -> Any:
    """Draws weights of the right shapes, which those of `load` then replace."""
    del image_size
    return Windows().init(key, jnp.zeros((1, _WINDOW, _WINDOW, 1)))["params"]


def annotate(params: Any, images: Float[Array, "B S S 3"]) -> Float[Array, "B L D"]:
    """Returns what each window of a canvas in [-1, 1] shows, row by row."""
    grey = images.mean(-1, keepdims=True) / 2 + 0.5
    padded = jnp.pad(grey, ((0, 0), (_PAD, _PAD), (_PAD, _PAD), (0, 0)))
    seen: Any = Windows().apply({"params": params}, padded)
    side = seen.shape[1]
    at = (jnp.arange(side) + 0.5) / side * 2 - 1
    places = jnp.stack(jnp.meshgrid(at, at, indexing="ij"), -1)
    places = jnp.broadcast_to(places, (len(seen), side, side, 2))
    both = jnp.concatenate([seen * _SCALE, places], -1)
    return both.reshape(len(seen), side * side, WIDTH)


def load(weights: str | None) -> Any:
    """Returns the trained weights, from the cache folder if they were trained before."""
    require(weights is None, f"model.encoder_weights={weights}; encoder digits trains its own")
    source = digits.load(DataConfig(split="train"), _SIDE, "")
    images, labels = read(source, range(len(source)))
    content = hashlib.sha256(images.tobytes() + labels.tobytes() + RECIPE_VERSION.encode())
    path = cache.folder() / f"encoder-digits-{content.hexdigest()[:16]}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as saved:
            return unflatten_dict({name: saved[name] for name in saved.files}, sep="/")
    params = train(images[..., 0], labels)
    with replacing(path) as file:
        arrays: Any = flatten_dict(params, sep="/")
        np.savez(file, **arrays)
    return params


def train(images: np.ndarray, labels: np.ndarray, steps: int = _STEPS) -> Any:
    """Trains on windows of digits (N, 8, 8); all randomness comes from a fixed seed and the step.

    Returns: the weights of the convolutions; those of the last, dense layer are not kept.
    """
    network, head = Windows(), nn.Dense(_NONE + 1)
    init_key, head_key = jax.random.split(jax.random.key(_SEED))
    params = {
        "windows": init(init_key, _WINDOW),
        "head": head.init(head_key, jnp.zeros((1, 64)))["params"],
    }
    adam = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, shown: Array, classes: Array) -> Any:
        def loss(params: Any) -> Array:
            seen: Any = network.apply({"params": params["windows"]}, shown)
            logits: Any = head.apply({"params": params["head"]}, seen[:, 0, 0])
            return optax.softmax_cross_entropy_with_integer_labels(logits, classes).mean()

        updates, state = adam.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = jax.jit(adam.init)(params)
    for step in range(steps):
        shown, classes = windows(images, labels, np.random.default_rng([_SEED, step]))
        params, state = update(params, state, shown, classes)
    return jax.device_get(params["windows"])


def windows(
    images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, count: int = _BATCH_SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """Draws windows float32 (count, 11, 11, 1) and their classes; half of them show "none".

    Three in four also show part of a neighbour, which is 9 px or more away along one axis.
    """
    reach = 12  # px around the window, where digits may begin or end
    canvas = np.zeros((count, _WINDOW + 2 * reach, _WINDOW + 2 * reach), np.float32)
    chosen = rng.integers(0, len(images), (count, 2))
    centred = np.arange(count) < count // 2
    places = rng.integers(-_SIDE + 1, _WINDOW, (count, 2))
    places[centred] = rng.integers(0, 4, (count // 2, 2))
    centred = ((places >= 0) & (places < 4)).all(1)
    for row, (first, second), place in zip(canvas, chosen, places, strict=True):
        _put(row, images[first], place + reach)
        if rng.random() < 0.75:
            away = rng.integers(-3, 4, 2)
            away[rng.integers(2)] = rng.choice([-1, 1]) * rng.integers(_SIDE + 1, _SIDE + 4)
            _put(row, images[second], place + away + reach)
    shown = canvas[:, reach:-reach, reach:-reach, None] / 255
    return shown, np.where(centred, labels[chosen[:, 0]], _NONE)


def _put(canvas: np.ndarray, digit: np.ndarray, place: np.ndarray) -> None:
    top, left = np.clip(place, 0, len(canvas) - _SIDE)
    part = canvas[top : top + _SIDE, left : left + _SIDE]
    np.maximum(part, digit, out=part)
