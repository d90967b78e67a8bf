"""Gradient penalties on the discriminator: one row of `PENALTIES` for each.

`train.penalties` names any number of them, each with a weight: `r1=10`, or with a schedule in
place of the number. `module:name=0.5` takes a function from a module of your own.

A penalty is called as `penalty(discriminate, real, fake, keys)` and returns its unweighted value.
`discriminate(image, label)` returns logits; `real` and `fake` are batches of images with their
labels; `keys` has one random key for each pair of images.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sagan.config import plugins
from sagan.data.pipeline import Batch

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
    norms = jnp.sqrt(_squared_norms(discriminate, between, real.label) + 1e-12)
    return jnp.mean((norms - 1) ** 2)


PENALTIES: dict[str, Penalty] = {"r1": r1, "wgan_gp": wgan_gp}


def find(name: str) -> Penalty:
    """Returns the penalty that an entry of `train.penalties` names.

    Raises: ConfigError if there is no such row, or what `module:name` names is not a function.
    """
    return plugins.row(PENALTIES, name, field="train.penalties", needs=("__call__",))


def _squared_norms(
    discriminate: Discriminate, image: Float[Array, "B H W C"], label: Labels
) -> Float[Array, " B"]:
    gradient = jax.grad(lambda x: discriminate(x, label).sum())(image)
    return jnp.sum(gradient**2, axis=(1, 2, 3))
