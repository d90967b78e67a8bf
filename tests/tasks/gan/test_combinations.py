"""Every row of every table in the step, in pairs: finite, by one player only, on any devices."""

import dataclasses
import functools
import itertools
import random

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from support.tiny import DENSE, same_bits
from support.traced import after_step, networks_of
from support.training import Training

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


PLAIN = tuple(rows[0] for rows in TABLES.values())


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


# Cases whose rows need the whole batch: the first compares its images, the second selects some.
WHOLE_BATCH = {
    "compared": ("d2d_ce", "relativistic_average_hinge", "r1=1@2", "lecam=0.5", "translation"),
    "selected": ("ac", "hinge", "r1_r2_fd=1", "topk=0.5", "color"),
}


def rounds():
    """Chooses cases so that each row of each table is in one. Those of `WHOLE_BATCH` come first."""
    draw, found = random.Random(0), [*WHOLE_BATCH.values()]
    while True:
        missing = [
            [row for row in rows if all(case[place] != row for case in found)]
            for place, rows in enumerate(TABLES.values())
        ]
        if not any(missing):
            return found
        options = [new or [row] for new, row in zip(missing, PLAIN, strict=True)]
        drawn = [tuple(map(draw.choice, options)) for _ in range(8)]
        # If none of these is allowed, one new row is combined with the plain rows of all others.
        place = next(place for place, new in enumerate(missing) if new)
        drawn.append(tuple(missing[place][0] if n == place else row for n, row in enumerate(PLAIN)))
        found.append(next(filter(allowed, drawn)))


def remembering(task):
    """Returns the names of the task's regularisers that keep a state between updates."""
    return tuple(name for name, (row, _) in task.gan.regularisers.items() if row.state is not None)


@functools.cache
def first_state(model, names, traced=False):
    """Returns the first state of a model and of these regularisers; only its shapes if `traced`."""
    regularisers = tuple(f"{name}=1" for name in names)
    loss = "hinge_san" if model.d_sliced else "hinge"
    train = dataclasses.replace(SMALL.train, regularisers=regularisers, loss=loss)
    task = tasks.build(dataclasses.replace(SMALL, model=model, train=train), 1)
    init = jax.jit(task.init)
    keys = list(jax.random.split(jax.random.key(0), 3))
    return jax.eval_shape(init, keys) if traced else init(keys)


@functools.cache
def step_of(config, devices=1):
    """Takes the first step, on so many devices; an axis of `vmap` has their collectives."""
    task = tasks.build(config, devices)
    state = first_state(config.model, remembering(task))
    image = np.random.default_rng(5).normal(0, 0.5, (8, 8, 8, 3)).astype(np.float32)
    parts = image.reshape(devices, 1, -1, 8, 8, 3), np.arange(8).reshape(devices, 1, -1) % 4

    @jax.jit
    def run(state, image, label, key):
        step = jax.vmap(
            lambda image, label: task.step(state, Batch(image, label), jnp.int32(0), key),
            axis_name=AXIS,
        )
        return jax.tree.map(lambda x: x[0], step(image, label))

    return state, *jax.device_get(run(state, parts[0], np.int32(parts[1]), jax.random.key(1)))


def pairs(case):
    return {frozenset(pair) for pair in itertools.combinations(enumerate(case), 2)}


def all_pairs():
    """Chooses cases so that each allowed pair of rows of two tables is in one."""
    tables, draw = [*enumerate(TABLES.values())], random.Random(0)
    options = [[(place, row) for row in rows] for place, rows in tables]
    both = itertools.combinations(options, 2)
    missing = {frozenset(pair) for a, b in both for pair in itertools.product(a, b)}
    while missing:
        pair = dict(min(missing, key=sorted))
        drawn = [
            tuple(pair.get(place, draw.choice(rows)) for place, rows in tables) for _ in range(40)
        ]
        drawn.sort(key=lambda case: -len(pairs(case) & missing))
        alone = tuple(pair.get(place, row) for place, row in enumerate(PLAIN))
        case = next(filter(allowed, [*drawn[:8], alone]), None)
        if case:
            yield case
        missing -= pairs(case) if case else {frozenset(pair.items())}


jitted = functools.cache(jax.jit)  # so that each augmentation is traced once


@pytest.mark.slow
def test_each_pair_of_rows_can_be_traced():
    batch = Batch(
        jax.ShapeDtypeStruct((1, 8, 8, 8, 3), np.float32), jax.ShapeDtypeStruct((1, 8), np.int32)
    )
    for case in all_pairs():
        config = config_of(*case)
        task = tasks.build(config, 1)
        augmentations = [jitted(augmentation) for augmentation in task.gan.augmentations]
        task.gan = task.gan._replace(
            networks=networks_of(config.model), augmentations=augmentations
        )
        start = first_state(config.model, remembering(task), traced=True)
        _, scalars = after_step(task, start, batch)
        assert {"loss/d", "loss/g"} <= set(scalars), case


@pytest.mark.parametrize("case", rounds(), ids=lambda case: "-".join(filter(None, case)))
def test_one_step_is_finite_and_each_player_moves(case):
    start, state, scalars = step_of(config_of(*case))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((state, scalars)))
    for player in ("g", "d"):
        before, after = (getattr(s, player).params for s in (start, state))
        assert same_bits(before, after)
    _, _, penalty, *_ = case
    assert scalars["loss/penalty"] > 0 if penalty else "loss/penalty" not in scalars


@pytest.mark.parametrize("case", WHOLE_BATCH.values(), ids=WHOLE_BATCH)
def test_rows_that_look_at_the_whole_batch_do_the_same_on_4_devices(case):
    _, one, scalars = step_of(config_of(*case))
    _, four, others = step_of(config_of(*case), 4)
    for name, value in scalars.items():
        np.testing.assert_allclose(others[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    for player in ("g", "d"):
        a, b = (getattr(s, player).params for s in (one, four))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), a, b)


def test_states_of_regularisers_and_of_ada_come_back_bit_for_bit(tmp_path):
    """A training of two steps, and one that is saved, restored and goes on after the first."""
    config = replace(
        SMALL,
        train={"regularisers": ("lecam=0.3",), "augment": ("cutout",), "augment_p": "adaptive"},
    )
    states, _ = Training(config).play([(0, 1), (1, 1)])
    with ocp.StandardCheckpointer() as saver:
        saver.save(tmp_path / "saved", states[1])
        saver.wait_until_finished()
        restored = saver.restore(tmp_path / "saved", states[1])
    assert set(restored.task.extra) == {"lecam", "ada"}
    assert same_bits(restored, states[1]) == []
