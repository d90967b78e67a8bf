"""Adversarial losses and gradient penalties: two tables, a row each.

A row's name goes into `train.loss` or `train.penalty`; `module:name` names one of yours.
Logits are the discriminator's raw outputs, higher = real.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sagan.config import ConfigError

Logits = Float[Array, " B"]
Scalar = Float[Array, ""]
Images = Float[Array, "B H W C"]
Keys = Key[Array, " B"]  # one per image
Penalty = Callable[[Callable[[Images], Logits], Images, Images, Keys], Scalar]
Row = TypeVar("Row")


class GanLoss(NamedTuple):
    """`discriminator(real_logits, fake_logits)` and `generator(fake_logits)`, batch means."""

    discriminator: Callable[[Logits, Logits], Scalar]
    generator: Callable[[Logits], Scalar]


LOSSES: dict[str, GanLoss] = {
    # Geometric GAN (arXiv:1705.02894); the sum of two means, without 1/2, as in SAGAN Eq. 4.
    "hinge": GanLoss(
        lambda real, fake: jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake)),
        lambda fake: -jnp.mean(fake),
    ),
    # Goodfellow et al. (arXiv:1406.2661), Section 3.
    "non_saturating": GanLoss(
        lambda real, fake: jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake)),
        lambda fake: jnp.mean(jax.nn.softplus(-fake)),
    ),
    # WGAN (arXiv:1701.07875), Eq. 2.
    "wasserstein": GanLoss(
        lambda real, fake: jnp.mean(fake) - jnp.mean(real),
        lambda fake: -jnp.mean(fake),
    ),
    # LSGAN (arXiv:1611.04076), Eq. 9.
    "least_squares": GanLoss(
        lambda real, fake: jnp.mean((real - 1) ** 2) / 2 + jnp.mean(fake**2) / 2,
        lambda fake: jnp.mean((fake - 1) ** 2) / 2,
    ),
}


def r1(discriminate: Callable[[Images], Logits], real: Images, fake: Images, keys: Keys) -> Scalar:
    """Gives half the mean squared gradient norm at real images; its weight is R1's gamma.

    Source: Mescheder et al. (arXiv:1801.04406), Eq. 9.
    """
    del fake, keys
    return jnp.mean(_squared_norms(discriminate, real)) / 2


def wgan_gp(
    discriminate: Callable[[Images], Logits], real: Images, fake: Images, keys: Keys
) -> Scalar:
    """Gives the mean squared distance from 1 of the gradient norm between reals and fakes.

    Source: WGAN-GP (arXiv:1704.00028), Eq. 3; labels are those of the reals.
    """
    alpha = jax.vmap(jax.random.uniform)(keys)[:, None, None, None]
    norms = jnp.sqrt(_squared_norms(discriminate, alpha * real + (1 - alpha) * fake) + 1e-12)
    return jnp.mean((norms - 1) ** 2)


PENALTIES: dict[str, Penalty] = {"r1": r1, "wgan_gp": wgan_gp}


def _squared_norms(discriminate: Callable[[Images], Logits], image: Images) -> Logits:
    gradient = jax.grad(lambda x: discriminate(x).sum())(image)
    return jnp.sum(gradient**2, axis=(1, 2, 3))


def find(table: Mapping[str, Row], name: str, field: str) -> Row:
    """Looks up a row, or imports `module:name`.

    Raises: ConfigError naming the rows there are.
    """
    if name in table:
        return table[name]
    module, colon, attribute = name.partition(":")
    if colon:
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"{field}={name!r}: {error}") from error
        parts = GanLoss._fields if isinstance(next(iter(table.values())), GanLoss) else ()
        if all(callable(getattr(found, part, None)) for part in parts or ("__call__",)):
            return found
        wanted = f"has no {' and '.join(parts)}" if parts else "is not a function"
        raise ConfigError(f"{field}={name!r}: {found!r} {wanted}")
    raise ConfigError(f"{field}={name!r} is unknown; known: {', '.join(table)}, or module:name")
