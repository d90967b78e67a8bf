"""Adversarial losses: one row of `LOSSES` for each, found by `train.loss`.

A value `module:name` names a `GanLoss` in a module of your own. Logits are the raw outputs of the
discriminator; a higher logit means "more likely real".
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sagan.config import plugins

Logits = Float[Array, " B"]
Scalar = Float[Array, ""]


class GanLoss(NamedTuple):
    """The losses of both players, each the mean over a batch.

    Attributes:
      discriminator: called as `discriminator(real_logits, fake_logits)`.
      generator: called as `generator(real_logits, fake_logits)`. `real_logits` is None unless
        `generator_sees_real` is set.
      generator_sees_real: the generator's loss compares generated with real images, as relativistic
        losses do. Its update then runs the discriminator on a batch of real images too, which
        other losses do not pay for.
    """

    discriminator: Callable[[Logits, Logits], Scalar]
    generator: Callable[[Logits | None, Logits], Scalar]
    generator_sees_real: bool = False


LOSSES: dict[str, GanLoss] = {
    # Geometric GAN (arXiv:1705.02894). The two means are added without a factor 1/2, as in SAGAN
    # (arXiv:1805.08318), Eq. 4.
    "hinge": GanLoss(
        lambda real, fake: jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake)),
        lambda real, fake: -jnp.mean(fake),
    ),
    # Goodfellow et al. (arXiv:1406.2661), Section 3.
    "non_saturating": GanLoss(
        lambda real, fake: jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake)),
        lambda real, fake: jnp.mean(jax.nn.softplus(-fake)),
    ),
    # WGAN (arXiv:1701.07875), Eq. 2.
    "wasserstein": GanLoss(
        lambda real, fake: jnp.mean(fake) - jnp.mean(real),
        lambda real, fake: -jnp.mean(fake),
    ),
    # LSGAN (arXiv:1611.04076), Eq. 9.
    "least_squares": GanLoss(
        lambda real, fake: jnp.mean((real - 1) ** 2) / 2 + jnp.mean(fake**2) / 2,
        lambda real, fake: jnp.mean((fake - 1) ** 2) / 2,
    ),
}


def find(name: str) -> GanLoss:
    """Returns the loss that `train.loss` names.

    Raises: ConfigError if there is no such row, or what `module:name` names is not a `GanLoss`.
    """
    return plugins.row(LOSSES, name, field="train.loss", needs=("discriminator", "generator"))
