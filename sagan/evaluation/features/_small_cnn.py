"""A small convolutional classifier, trained on one device with reproducible results."""

import dataclasses
import functools
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

POOL_WIDTH = 64
RECIPE_VERSION = "1"  # to be raised with every change that changes the trained weights

_LARGE = 10_000  # images from which on the larger network is worth its time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Sizes of the network and of its training."""

    channels: int  # after the first halving; doubled by each further one, up to 256
    convs_per_halving: int
    batch_size: int
    epochs: int
    learning_rate: float  # Adam's highest: a tenth of the steps warm up, then a cosine decays


def recipe(num_images: int, image_size: int) -> Recipe:
    """Chooses sizes by the number of images and their size in px."""
    if num_images >= _LARGE:
        large = {"channels": 64, "convs_per_halving": 2, "batch_size": 256}
        return Recipe(**large, epochs=30, learning_rate=2e-3)
    if image_size < 32:
        small = {"channels": 24, "convs_per_halving": 2, "batch_size": 64}
        return Recipe(**small, epochs=15, learning_rate=2e-3)
    middle = {"channels": 32, "convs_per_halving": 1, "batch_size": 32}
    return Recipe(**middle, epochs=20, learning_rate=1e-3)


class SmallCnn(nn.Module):
    """Strided convolutions that halve the image to about 4 x 4, then two dense layers."""

    num_classes: int
    plan: Recipe

    @nn.compact
    def __call__(self, images: UInt8[Array, "B H W C"]) -> dict[str, Float[Array, "B _"]]:
        x = images.astype(jnp.float32) / 127.5 - 1.0
        conv = functools.partial(
            nn.Conv, kernel_size=(3, 3), kernel_init=nn.initializers.he_normal()
        )
        features = self.plan.channels
        while min(x.shape[1:3]) > 4:
            for _ in range(self.plan.convs_per_halving - 1):
                x = nn.relu(conv(features)(x))
            x = nn.relu(conv(features, strides=2)(x))
            features = min(2 * features, 256)
        x = x.reshape(len(x), -1)
        pool = nn.relu(nn.Dense(POOL_WIDTH, kernel_init=nn.initializers.he_normal())(x))
        return {"classifier_pool": pool, "classifier_logits": nn.Dense(self.num_classes)(pool)}


def train(
    images: UInt8[np.ndarray, "N H W 3"],
    labels: Int[np.ndarray, " N"],
    network: SmallCnn,
    seed: int,
) -> dict:
    """Trains on cross-entropy with random shifts of up to an eighth of the image.

    Returns: the weights. On one kind of machine they depend on the arguments alone, since all
      randomness comes from `seed` and the step.
    """
    plan = network.plan
    batch_size = min(plan.batch_size, len(images))
    steps_per_epoch = len(images) // batch_size
    steps = plan.epochs * steps_per_epoch
    schedule = optax.warmup_cosine_decay_schedule(0.0, plan.learning_rate, steps // 10, steps)
    optimiser = optax.adam(schedule)
    init_key, shift_key = jax.random.split(jax.random.key(seed))
    params = jax.jit(network.init)(init_key, jnp.asarray(images[:1]))["params"]
    opt_state = optimiser.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params, opt_state, images, labels, step):
        images = _shifted(images, jax.random.fold_in(shift_key, step))

        def loss_fn(params):
            logits = outputs(network, params, images)["classifier_logits"]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, opt_state = optimiser.update(jax.grad(loss_fn)(params), opt_state)
        return optax.apply_updates(params, updates), opt_state

    # A loop in Python, because gradients of convolutions are very slow on CPUs inside `scan`.
    for epoch in range(plan.epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(images))
        for i in range(steps_per_epoch):
            chosen = order[i * batch_size : (i + 1) * batch_size]
            step = np.int32(epoch * steps_per_epoch + i)
            params, opt_state = update(params, opt_state, images[chosen], labels[chosen], step)
    return jax.device_get(params)


def outputs(network: SmallCnn, params: dict, images: Array) -> dict[str, Array]:
    return cast(dict[str, Array], network.apply({"params": params}, images))


def _shifted(images: UInt8[Array, "B H W C"], key: PRNGKeyArray) -> UInt8[Array, "B H W C"]:
    """Shifts each image by a random offset of its own; edges are repeated."""
    batch, height, width, channels = images.shape
    reach = (height // 8, width // 8)
    pads = [(0, 0), (reach[0],) * 2, (reach[1],) * 2, (0, 0)]
    padded = jnp.pad(images, pads, mode="edge")
    tops, lefts = (
        jax.random.randint(k, (batch,), 0, 2 * r + 1)
        for k, r in zip(jax.random.split(key), reach, strict=True)
    )

    def crop(image, top, left):
        return jax.lax.dynamic_slice(image, (top, left, 0), (height, width, channels))

    return jax.vmap(crop)(padded, tops, lefts)
