"""Every row of every table in the step, in pairs: finite, by one player only, on any devices."""

import itertools
import random

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import PartitionSpec as P
from support.tiny import DENSE, same_bits
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
        case = next(filter(allowed, drawn[:8]), None)
        if case:
            yield case
        missing -= pairs(case) if case else {frozenset(pair.items())}


@pytest.mark.slow
def test_each_pair_of_rows_can_be_traced():
    one_device = jax.make_mesh((1,), (AXIS,), devices=jax.devices()[:1])
    batch = Batch(jnp.zeros((1, 8, 8, 8, 3)), jnp.zeros((1, 8), jnp.int32))
    for case in all_pairs():
        task = tasks.build(config_of(*case), 1)

        def run(key, batch, task=task):
            state = task.init(list(jax.random.split(key, 3)))
            return task.step(state, batch, jnp.int32(0), key)

        mapped = jax.shard_map(run, mesh=one_device, in_specs=P(), out_specs=P(), check_vma=False)
        _, scalars = jax.eval_shape(mapped, jax.random.key(0), batch)
        assert {"loss/d", "loss/g"} <= set(scalars), case


@pytest.mark.parametrize("case", rounds(), ids=lambda case: "-".join(filter(None, case)))
def test_one_step_is_finite_and_each_player_moves(case):
    start, state, scalars = step_of(config_of(*case))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((state, scalars)))
    for player in ("g", "d"):
        before, after = (getattr(s, player).params for s in (start, state))
        assert same_bits(before, after)


@pytest.mark.parametrize(
    "case",
    [
        ("d2d_ce", "relativistic_average_hinge", "r1=1@2", "lecam=0.5", "translation"),
        ("ac", "hinge", "r1_r2_fd=1", "topk=0.5", "color"),
    ],
    ids=["compared", "selected"],
)
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
