"""What both players' updates need: the parts of a GAN, drawing images, and judging them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sagan.config import GanOptimConfig, GanTrainConfig
from sagan.config.schedules import Schedule
from sagan.data.pipeline import Batch
from sagan.models import Networks
from sagan.models.layers.head import Judged
from sagan.parallel.keys import of_stream
from sagan.tasks.gan import augmentation, latents
from sagan.tasks.gan.augmentation import Augmentation
from sagan.tasks.gan.conditionings import Conditioning
from sagan.tasks.gan.losses import GanLoss
from sagan.tasks.gan.penalties import Penalty
from sagan.tasks.gan.regularisers import Regulariser

Weights = Any  # parameters after spectral normalisation
Weight = float | Schedule
Keys = Key[Array, " B"]


class Gan(NamedTuple):
    """Everything that a step does not change.

    Attributes:
      networks: generator and discriminator; see `sagan.models`.
      penalties: each with its weight, and every how many updates it is computed.
      regularisers: each with its weight, by name.
      conditioning: the loss that labels have; None: none.
      augmentations: of what the discriminator sees, in order.
      model: the section of the config that belongs to the family of networks.
      unroll: compile the discriminator's updates one after another, not as a loop.
    """

    networks: Networks
    loss: GanLoss
    penalties: tuple[tuple[Penalty, Weight, int], ...]
    regularisers: Mapping[str, tuple[Regulariser, Weight]]
    conditioning: Conditioning | None
    augmentations: tuple[Augmentation, ...]
    model: Any
    optim: GanOptimConfig
    train: GanTrainConfig
    unroll: bool


class When(NamedTuple):
    """The point of the training at which an update takes place.

    Attributes:
      images: real images that the discriminator has seen before.
      updates: updates of the discriminator before.
      p: probability of augmentations.
    """

    images: Float[Array, ""]
    updates: Int[Array, ""]
    p: Any = 1.0


def generate(
    gan: Gan,
    weights: Weights,
    batch_stats: Any,
    keys: Keys,
    label: Array | None = None,
    move: Array | None = None,
) -> tuple[Batch, Any]:
    """Draws one image for each key; returns them with their classes, and the moved statistics.

    Args:
      label: classes of the images; None: they are drawn, if there are classes.
      move: is added to the latents.
    """
    z, drawn = latents.draw(gan.model.z_dim, gan.model.num_classes, keys)
    label = drawn if label is None else label
    variables = {"params": weights, "batch_stats": batch_stats}
    image, moved = gan.networks.generator.apply(
        variables, z if move is None else z + move, label, train=True, mutable=["batch_stats"]
    )
    return Batch(image, label), moved.get("batch_stats", {})


def augmented(gan: Gan, when: When, batch: Batch, keys: Keys, stream: int) -> Batch:
    """Returns the batch as the discriminator sees it."""
    if not gan.augmentations:
        return batch
    image = augmentation.apply(gan.augmentations, when.p, batch.image, of_stream(keys, stream))
    return Batch(image, batch.label)


def judge(
    gan: Gan, weights: Weights, batch_stats: Any, *batches: Batch
) -> tuple[list[Judged], Any]:
    """Runs the discriminator on several batches.

    They go through in one pass, which is faster, unless the discriminator has batch statistics:
    those of real and of generated images must not mix, so each batch then has a pass of its own.

    Returns: what it says of each batch, and the batch statistics after them.
    """
    apply: Any = gan.networks.discriminator.apply
    if not batch_stats:
        joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *batches)
        both = _judged(apply({"params": weights}, joined.image, joined.label, train=True))
        split = [None if x is None else jnp.split(x, len(batches)) for x in both]
        found = []
        for number in range(len(batches)):
            parts: Any = (None if x is None else x[number] for x in split)
            found.append(Judged(*parts))
        return found, batch_stats
    found = []
    for batch in batches:
        variables = {"params": weights, "batch_stats": batch_stats}
        output, moved = apply(
            variables, batch.image, batch.label, train=True, mutable=["batch_stats"]
        )
        batch_stats = moved["batch_stats"]
        found.append(_judged(output))
    return found, batch_stats


def _judged(output: Array | Judged) -> Judged:
    return output if isinstance(output, Judged) else Judged(output)
