"""Gradient penalties on the discriminator: one row of `PENALTIES` for each.

`train.penalties` names any number of them, each with a weight: `r1=10`, or with a schedule in
place of the number. `r1=10@16` computes it in every 16th update only, with 16 times the weight
(lazy regularisation of StyleGAN2, arXiv:1912.04958). `module:name=0.5` takes a function from a
module of your own.

A penalty is called as `penalty(discriminate, real, fake, keys)` and returns its unweighted value.
`discriminate(image, label)` returns logits; it augments images as the discriminator sees them in
this run, always alike within a call, so gradients are those at the images before it. `real` and
`fake` are batches of images with their labels; `keys` has one random key for each pair of images.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sagan.config import plugins
from sagan.data.pipeline import Batch

_FD_SIZE = 0.01
Labels = Int[Array, " B"] | None
Discriminate = Callable[[Float[Array, "B H W C"], Labels], Float[Array, " B"]]
Penalty = Callable[[Discriminate, Batch, Batch, Key[Array, " B"]], Float[Array, ""]]


def r1(
    discriminate: Discriminate, real: Batch, fake: Batch, keys: Key[Array, " B"]
) -> Float[Array, ""]:
    """Returns half the mean squared gradient norm at real images; the weight is R1's gamma.

    Source: Mescheder et al. (arXiv:1801.04406), Eq. 9.
    """
    return jnp.mean(_squared_norms(discriminate, real.image, real.label)) / 2


def r2(
    discriminate: Discriminate, real: Batch, fake: Batch, keys: Key[Array, " B"]
) -> Float[Array, ""]:
    """Returns half the mean squared gradient norm at generated images; the weight is gamma.

    Source: Mescheder et al. (arXiv:1801.04406), Eq. 10.
    """
    return r1(discriminate, fake, real, keys)


def r1_r2_fd(
    discriminate: Discriminate, real: Batch, fake: Batch, keys: Key[Array, " B"]
) -> Float[Array, ""]:
    """Returns an estimate of `r1` plus `r2` by finite differences, without a second derivative.

    Each image is compared with itself plus a normal draw times 0.01. The mean of the squared change
    over 0.01 is the squared gradient norm, to first order. It needs float32: in bfloat16 the change
    is rounding.

    Source: the approximate R1 and R2 of APT (arXiv:2501.08316), Section 3.3.
    """

    def estimate(batch: Batch, keys: Key[Array, " B"]) -> Float[Array, ""]:
        noise = jax.vmap(lambda key, x: jax.random.normal(key, x.shape))(keys, batch.image)
        moved = discriminate(batch.image + _FD_SIZE * noise, batch.label)
        change = (moved - discriminate(batch.image, batch.label)) / _FD_SIZE
        return jnp.mean(change**2) / 2

    pairs = jax.vmap(jax.random.split)(keys)
    return estimate(real, pairs[:, 0]) + estimate(fake, pairs[:, 1])


def wgan_gp(
    discriminate: Discriminate, real: Batch, fake: Batch, keys: Key[Array, " B"]
) -> Float[Array, ""]:
    """Returns the mean squared distance of the gradient norm from 1, between real and fake images.

    Each point lies at a random place on the line between a real image and a generated one, and
    takes the label of the real image.

    Source: WGAN-GP (arXiv:1704.00028), Eq. 3.
    """
    alpha = jax.vmap(jax.random.uniform)(keys)[:, None, None, None]
    between = alpha * real.image + (1 - alpha) * fake.image
    return _distance_from_one(discriminate, between, real.label)


def dragan(
    discriminate: Discriminate, real: Batch, fake: Batch, keys: Key[Array, " B"]
) -> Float[Array, ""]:
    """Returns the mean squared distance of the gradient norm from 1, near real images.

    To each image is added a uniform draw from [0, 1) for each value, times half the standard
    deviation of the image, times a uniform draw for the image. StudioGAN takes the deviation of
    the whole batch instead, which would depend on the other images.

    Source: DRAGAN (arXiv:1705.07215), with StudioGAN's noise.
    """

    def near(key: Array, x: Array) -> Array:
        size_key, noise_key = jax.random.split(key)
        noise = 0.5 * x.std() * jax.random.uniform(noise_key, x.shape)
        return x + jax.random.uniform(size_key) * noise

    return _distance_from_one(discriminate, jax.vmap(near)(keys, real.image), real.label)


PENALTIES: dict[str, Penalty] = {
    "r1": r1,
    "r2": r2,
    "r1_r2_fd": r1_r2_fd,
    "wgan_gp": wgan_gp,
    "dragan": dragan,
}


def find(name: str) -> Penalty:
    """Returns the penalty that an entry of `train.penalties` names.

    Raises: ConfigError if there is no such row, or what `module:name` names is not a function.
    """
    return plugins.row(PENALTIES, name, field="train.penalties", needs=("__call__",))


def _distance_from_one(
    discriminate: Discriminate, image: Float[Array, "B H W C"], label: Labels
) -> Float[Array, ""]:
    norms = jnp.sqrt(_squared_norms(discriminate, image, label) + 1e-12)
    return jnp.mean((norms - 1) ** 2)


def _squared_norms(
    discriminate: Discriminate, image: Float[Array, "B H W C"], label: Labels
) -> Float[Array, " B"]:
    gradient = jax.grad(lambda x: discriminate(x, label).sum())(image)
    return jnp.sum(gradient**2, axis=(1, 2, 3))
