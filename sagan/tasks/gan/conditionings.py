"""Losses of the discriminator's conditioning: one row of `CONDITIONINGS` for each.

`model.d_conditioning` names the row. Both players minimise a loss of their own, which is added to
the adversarial loss with a weight. The discriminator's head gives what it reads; see
`sagan.models.layers.head`.

`contrastive` and `d2d_ce` compare each image with all images of the global batch. Each device
therefore gathers the embeddings of all devices: an all-gather, with its gradient.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from sagan.models.layers.head import Judged
from sagan.parallel.devices import AXIS, first_index

Labels = Int[Array, " B"]
Scalar = Float[Array, ""]
MARGIN = (
    0.98  # of `d2d_ce`: positives closer than this, and negatives further apart, are left alone
)


class Conditioning(NamedTuple):
    """The losses of one conditioning.

    Attributes:
      discriminator: called with what was judged of real images, their labels, the same of
        generated images, and the temperature.
      generator: called with what was judged of generated images, their labels, the temperature.
      reads: the fields of `Judged` that they read.
      weight, temperature: the published ones.
      adversarial: the adversarial loss is there too; otherwise this is the whole loss.
      whole_batch: images are compared with one another.
    """

    discriminator: Callable[[Judged, Labels, Judged, Labels, float], Scalar]
    generator: Callable[[Judged, Labels, float], Scalar]
    reads: tuple[str, ...]
    weight: float = 1.0
    temperature: float = 1.0
    adversarial: bool = True
    whole_batch: bool = False


def cross_entropy(logits: Float[Array, "B K"] | None, labels: Labels) -> Scalar:
    """Returns the mean cross entropy of the labels."""
    assert logits is not None
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def multi_hinge(logits: Float[Array, "B K"] | None, labels: Labels) -> Scalar:
    """Returns the mean of max(0, 1 + the largest wrong logit - the right one).

    Source: Crammer & Singer (2001), as in arXiv:1912.04216.
    """
    assert logits is not None
    right = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    wrong = jnp.where(right, -jnp.inf, logits).max(-1)
    own = jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]
    return jnp.mean(jax.nn.relu(1 + wrong - own))


def contrastive(judged: Judged, labels: Labels, temperature: float) -> Scalar:
    """Returns the 2C loss: an image is drawn to its class's proxy and to images of its class.

    Source: ContraGAN (arXiv:2006.12681), Eq. 8.
    """
    near, own, other, same = _similarities(judged, labels)
    near, own = near / temperature, own / temperature
    images = jnp.where(other, near, -jnp.inf)
    top = jnp.concatenate([own[:, None], jnp.where(same, images, -jnp.inf)], 1)
    everything = jnp.concatenate([own[:, None], images], 1)
    return jnp.mean(_log_sum_exp(everything) - _log_sum_exp(top))


def d2d_ce(judged: Judged, labels: Labels, temperature: float) -> Scalar:
    """Returns the data-to-data cross entropy: as `contrastive`, but easy pairs have no weight.

    Source: ReACGAN (arXiv:2111.01118), Eq. 8, with the maximum subtracted from all terms alike.
    """
    near, own, other, same = _similarities(judged, labels)
    positive = jnp.minimum(own - MARGIN, 0) / temperature
    negative = jnp.maximum(near - (1 - MARGIN), 0) / temperature
    negative = jnp.where(other & ~same, negative, -jnp.inf)
    return jnp.mean(_log_sum_exp(jnp.concatenate([positive[:, None], negative], 1)) - positive)


def _similarities(judged: Judged, labels: Labels) -> tuple[Array, Array, Array, Array]:
    """Compares this device's images with those of all devices.

    Returns: cosines (b, B) with all images and (b,) with the own proxy; and, (b, B), whether it is
    another image, and whether it has the same label.
    """
    embedding, proxy = judged.embedding, judged.proxy
    assert embedding is not None and proxy is not None
    everyone, all_labels = (
        jax.lax.all_gather(x, AXIS, axis=0, tiled=True) for x in (embedding, labels)
    )
    near = jnp.matmul(embedding, everyone.T, precision=jax.lax.Precision.HIGHEST)
    index = first_index(len(labels)) + jnp.arange(len(labels))
    other = index[:, None] != jnp.arange(len(all_labels))[None]
    return near, (embedding * proxy).sum(-1), other, labels[:, None] == all_labels[None]


def _log_sum_exp(x: Float[Array, "B N"]) -> Float[Array, " B"]:
    return jax.nn.logsumexp(x, axis=1)


def _both(loss: Callable[[Judged, Labels, float], Scalar], weight: float, temperature: float):
    """Makes a row of a loss that D minimises on real images and G on generated ones."""
    return Conditioning(
        lambda real, label, fake, fake_label, t: loss(real, label, t),
        loss,
        ("embedding", "proxy"),
        weight,
        temperature,
        whole_batch=True,
    )


CONDITIONINGS: dict[str, Conditioning | None] = {
    # The label's embedding projects the features (arXiv:1802.05637); it has no loss of its own.
    "projection": None,
    # AC-GAN (arXiv:1610.09585); the discriminator learns classes from real images only.
    "ac": Conditioning(
        lambda real, label, fake, fake_label, t: cross_entropy(real.classes, label),
        lambda fake, label, t: cross_entropy(fake.classes, label),
        ("classes",),
    ),
    # TAC-GAN (arXiv:1907.02690): a second classifier learns generated images, and the generator is
    # rewarded where that one is wrong.
    "tac": Conditioning(
        lambda real, label, fake, fake_label, t: (
            cross_entropy(real.classes, label) + cross_entropy(fake.twin, fake_label)
        ),
        lambda fake, label, t: cross_entropy(fake.classes, label) - cross_entropy(fake.twin, label),
        ("classes", "twin"),
    ),
    # 2C of ContraGAN (arXiv:2006.12681), over the global batch.
    "contrastive": _both(contrastive, 1.0, 1.0),
    # D2D-CE of ReACGAN (arXiv:2111.01118), over the global batch.
    "d2d_ce": _both(d2d_ce, 0.5, 0.5),
    # Multi-hinge (arXiv:1912.04216): the hinge loss over K classes and "generated" is the whole
    # loss, so it needs train.loss=hinge.
    "multi_hinge": Conditioning(
        lambda real, label, fake, fake_label, t: (
            multi_hinge(real.classes, label)
            + multi_hinge(fake.classes, jnp.full_like(fake_label, fake.classes.shape[-1] - 1))
        ),
        lambda fake, label, t: multi_hinge(fake.classes, label),
        ("classes",),
        adversarial=False,
    ),
}
