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
from sagan.parallel.devices import mean_over_devices

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
      paired: image by image, a generated image takes the label of the real one that it is compared
        with, in both players' updates.
      sliced: the discriminator's last layer learns its direction from a Wasserstein loss of its
        own, which is added to the discriminator's loss. This needs `model.d_sliced`.
    """

    discriminator: Callable[[Logits, Logits], Scalar]
    generator: Callable[[Logits | None, Logits], Scalar]
    generator_sees_real: bool = False
    paired: bool = False
    sliced: bool = False


def _hinge(real: Logits, fake: Logits) -> Scalar:
    return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))


def _logistic(real: Logits, fake: Logits) -> Scalar:
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def _relativistic_hinge(above: Logits, below: Logits) -> Scalar:
    """Returns the hinge loss of logits against the mean of the others, over all devices."""
    mean_above, mean_below = (mean_over_devices(jnp.mean(x)) for x in (above, below))
    up, down = jax.nn.relu(1 - (above - mean_below)), jax.nn.relu(1 + (below - mean_above))
    return jnp.mean(up) / 2 + jnp.mean(down) / 2


LOSSES: dict[str, GanLoss] = {
    # Geometric GAN (arXiv:1705.02894). The two means are added without a factor 1/2, as in SAGAN
    # (arXiv:1805.08318), Eq. 4.
    "hinge": GanLoss(_hinge, lambda real, fake: -jnp.mean(fake)),
    # Goodfellow et al. (arXiv:1406.2661), Section 3.
    "non_saturating": GanLoss(_logistic, lambda real, fake: jnp.mean(jax.nn.softplus(-fake))),
    # The logistic loss of the first released SAGAN: the discriminator's is `non_saturating`, the
    # generator's is that of the hinge loss.
    "logistic": GanLoss(_logistic, lambda real, fake: -jnp.mean(fake)),
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
    # RpGAN (arXiv:1807.00734), as in R3GAN (arXiv:2501.05441): pairs of a real and a generated
    # image with one label.
    "rpgan": GanLoss(
        lambda real, fake: jnp.mean(jax.nn.softplus(fake - real)),
        lambda real, fake: jnp.mean(jax.nn.softplus(real - fake)),
        generator_sees_real=True,
        paired=True,
    ),
    # Relativistic average hinge (arXiv:1807.00734), halved as in LeCam's code (arXiv:2104.03310).
    # The averages are those of the whole batch, over all devices.
    "relativistic_average_hinge": GanLoss(
        _relativistic_hinge,
        lambda real, fake: _relativistic_hinge(fake, real),
        generator_sees_real=True,
    ),
    # SAN (arXiv:2301.12811) with the hinge loss; needs model.d_sliced=true.
    "hinge_san": GanLoss(_hinge, lambda real, fake: -jnp.mean(fake), sliced=True),
}


def find(name: str) -> GanLoss:
    """Returns the loss that `train.loss` names.

    Raises: ConfigError if there is no such row, or what `module:name` names is not a `GanLoss`.
    """
    return plugins.row(LOSSES, name, field="train.loss", needs=("discriminator", "generator"))
