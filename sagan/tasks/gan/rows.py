"""The rows of the tables that a config names, and combinations of them that cannot work."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sagan.config import GanTrainConfig, plugins
from sagan.config.fields import require
from sagan.config.schedules import Schedule
from sagan.config.training import term
from sagan.models import GanConfig
from sagan.models.layers.head import Judged
from sagan.tasks.gan import augmentation, losses, penalties, regularisers
from sagan.tasks.gan.augmentation import Augmentation
from sagan.tasks.gan.conditionings import CONDITIONINGS, Conditioning
from sagan.tasks.gan.losses import GanLoss
from sagan.tasks.gan.penalties import Penalty
from sagan.tasks.gan.regularisers import Regulariser

Weight = float | Schedule


class Rows(NamedTuple):
    """What `train` and `model.d_conditioning` name; the fields are those of `game.Gan`."""

    loss: GanLoss
    penalties: tuple[tuple[Penalty, Weight, int], ...]
    regularisers: dict[str, tuple[Regulariser, Weight]]
    conditioning: Conditioning | None
    augmentations: tuple[Augmentation, ...]


def find(model: GanConfig, train: GanTrainConfig) -> Rows:
    """Returns the rows.

    Raises: ConfigError for an unknown row, or rows that do not work together.
    """
    penalised = [term(text, "penalties") for text in train.penalties]
    regularised = [term(text, "regularisers") for text in train.regularisers]
    rows = Rows(
        losses.find(train.loss),
        tuple((penalties.find(each.name), each.weight, each.every) for each in penalised),
        {each.name: (regularisers.find(each.name), each.weight) for each in regularised},
        CONDITIONINGS[model.d_conditioning],
        tuple(augmentation.find(name) for name in train.augment),
    )
    _check_conditioning(model, train, rows)
    _check_terms(model, train, rows)
    return rows


def _check_conditioning(model: GanConfig, train: GanTrainConfig, rows: Rows) -> None:
    name, row = model.d_conditioning, rows.conditioning
    if row is not None:
        require(
            model.num_classes is not None,
            f"model.d_conditioning={name} with model.num_classes=none; it learns from labels, "
            "and there are none; allowed: projection, which is not used without classes",
        )
        require(
            not row.whole_batch or train.accumulate_steps == 1,
            f"model.d_conditioning={name} with train.accumulate_steps={train.accumulate_steps}; it "
            "compares all images of a batch with one another, so the batch cannot be processed in "
            "parts; allowed: 1",
        )
        require(
            row.adversarial or train.loss == "hinge",
            f"model.d_conditioning={name} with train.loss={train.loss}; it is the hinge loss of "
            "more classes and takes the place of the other; allowed: train.loss=hinge",
        )
    else:
        given = train.conditioning_weight, train.conditioning_temperature
        require(
            given == (None, None),
            f"train.conditioning_weight and conditioning_temperature with model.d_conditioning="
            f"{name}, which has no loss of its own; allowed: none",
        )
    require(
        rows.loss.sliced == model.d_sliced,
        f"train.loss={train.loss} with model.d_sliced={str(model.d_sliced).lower()}; a sliced loss "
        "teaches the direction of a sliced last layer, and no other loss does; allowed: both or "
        "neither",
    )
    reads = (*(row.reads if row else ()), *(["direction"] if rows.loss.sliced else []))
    absent = [field for field in reads if getattr(_judged(model), field) is None] if reads else []
    require(
        not absent,
        f"model.name={model.name} with model.d_conditioning={name} and model.d_sliced="
        f"{str(model.d_sliced).lower()}; its discriminator does not return {', '.join(absent)}",
    )


def _check_terms(model: GanConfig, train: GanTrainConfig, rows: Rows) -> None:
    selecting = [name for name, (row, _) in rows.regularisers.items() if row.select is not None]
    for name in selecting:
        require(
            not rows.loss.generator_sees_real,
            f"train.regularisers: {name} with train.loss={train.loss}; it drops generated images, "
            "and this loss compares all of them with real ones",
        )
        require(
            rows.conditioning is None or rows.conditioning.adversarial,
            f"train.regularisers: {name} with model.d_conditioning={model.d_conditioning}, which "
            "takes the place of the adversarial loss that it acts on",
        )
    require(
        model.dtype == "float32"
        or all(row is not penalties.r1_r2_fd for row, *_ in rows.penalties),
        f"train.penalties: r1_r2_fd with model.dtype={model.dtype}; it subtracts logits that "
        "differ by less than that type's rounding; allowed: float32, or the penalties r1 and r2",
    )
    require(
        bool(train.augment) or train.augment_p == 1,
        f"train.augment_p={train.augment_p} without train.augment; nothing is augmented",
    )


def _judged(model: GanConfig) -> Judged:
    """Returns the shapes of what the discriminator returns while training."""
    networks = plugins.load("models", model.name, field="model.name").build(model)
    image = jnp.zeros((2, model.image_size, model.image_size, 3))
    label = None if model.num_classes is None else jnp.zeros(2, jnp.int32)

    def run() -> Any:
        output, _ = networks.discriminator.init_with_output(
            jax.random.key(0), image, label, train=True
        )
        return output

    found = jax.eval_shape(run)
    return found if isinstance(found, Judged) else Judged(found)
