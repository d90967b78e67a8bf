"""Every row of every table in the step, in pairs: finite, by one player only, on any devices."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny import DENSE, same_bits

from sagan import tasks
from sagan.config import ConfigError, replace
from sagan.data.pipeline import Batch
from sagan.parallel.devices import AXIS
from sagan.tasks import gan
from sagan.tasks.gan.augmentation import AUGMENTATIONS
from sagan.tasks.gan.conditionings import CONDITIONINGS
from sagan.tasks.gan.losses import LOSSES
from sagan.tasks.gan.penalties import PENALTIES
from sagan.tasks.gan.regularisers import REGULARISERS

SMALL = replace(
    DENSE,
    data={"flip": False},
    model={"g_channels": 8, "d_channels": 8, "d_embed_dim": 4},
    optim={"epsilon": 1e-4, "ema_start_step": 0},
    train={"batch_size": 8, "d_steps_per_g_step": 1},
)
TABLES = {
    "conditioning": [*CONDITIONINGS],
    "loss": [*LOSSES],
    "penalty": ["", *(f"{name}=1" for name in PENALTIES), "r1=1@2"],
    "regulariser": ["", *(f"{name}=0.5" for name in REGULARISERS)],
    "augment": ["", *AUGMENTATIONS],
}


def config_of(conditioning, loss, penalty, regulariser, augment):
    texts = {"penalties": penalty, "regularisers": regulariser, "augment": augment}
    train = {field: (text,) if text else () for field, text in texts.items()}
    sliced = LOSSES[loss].sliced
    return replace(
        SMALL,
        model={"d_conditioning": conditioning, "d_sliced": sliced},
        train={"loss": loss, **train},
    )


def allowed(case):
    try:
        gan.check(config_of(*case))
    except ConfigError:
        return False
    return True


def rounds():
    """Chooses cases so that each row is in one, next to rows that change from case to case."""
    longest = max(map(len, TABLES.values()))
    draw, found = random.Random(0), []
    for number in range(longest):
        case = tuple(rows[number % len(rows)] for rows in TABLES.values())
        while not allowed(case):  # keep the row that is new, and draw the others
            case = tuple(
                row if number < len(rows) and draw.random() < 0.5 else draw.choice(rows)
                for row, rows in zip(case, TABLES.values(), strict=True)
            )
        found.append(case)
    return found


def step_of(config, devices=1, state=None):
    """Takes the first step, on so many devices; an axis of `vmap` has their collectives."""
    task = tasks.build(config, devices)
    image = 0.5 * jax.random.normal(jax.random.key(5), (1, 8, 8, 8, 3))
    batch = Batch(image, (jnp.arange(8) % 4)[None])
    if state is None:
        state = jax.jit(task.init)(list(jax.random.split(jax.random.key(0), 3)))

    def split(x):
        return jnp.moveaxis(x.reshape(1, devices, 8 // devices, *x.shape[2:]), 1, 0)

    def one(batch):
        return task.step(state, batch, jnp.int32(0), jax.random.key(1))

    found = jax.jit(jax.vmap(one, axis_name=AXIS))(jax.tree.map(split, batch))
    return state, *jax.device_get(jax.tree.map(lambda x: x[0], found))


@pytest.mark.parametrize("case", rounds(), ids=lambda case: "-".join(filter(None, case)))
def test_one_step_is_finite_and_each_player_moves(case):
    start, state, scalars = step_of(config_of(*case))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((state, scalars)))
    for player in ("g", "d"):
        before, after = (getattr(s, player).params for s in (start, state))
        assert same_bits(before, after)
