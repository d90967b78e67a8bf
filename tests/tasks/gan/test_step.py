"""One training step: who moves what, by how much, on how many devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.tiny import CONFIG, DENSE, same_bits
from support.training import Training, play

from sagan import data
from sagan.config import replace
from sagan.models.layers import spectral
from sagan.parallel.devices import Devices

# Images are not flipped, because one test computes a step a second time, from the same images.
ONE_UPDATE = replace(CONFIG, data={"flip": False}, train={"d_steps_per_g_step": 1})
STEPS = [(step, 1) for step in range(3)]


@pytest.fixture(scope="module")
def training():
    """SAGAN on one device. A step updates its discriminator once."""
    return Training(ONE_UPDATE)


@pytest.fixture(scope="module")
def played(training):
    """The states at the start and after each of three steps on one device, and the scalars."""
    return training.play(STEPS)


@pytest.fixture(scope="module")
def dense_training():
    """The dense networks on one device. A step updates their discriminator twice."""
    return Training(DENSE)


@pytest.fixture(scope="module")
def dense(dense_training):
    """The states and scalars of the dense networks, in the form of `played`."""
    return dense_training.play(STEPS)


def test_two_runs_with_one_seed_are_identical(training, played, dense):
    """Two runs of one compiled program end in the same bits; so do runs of two programs."""
    for first, again in ((played, training.play(STEPS)), (dense, Training(DENSE).play(STEPS))):
        assert same_bits(again, first) == []


def test_another_seed_is_another_run(dense):
    start = dense[0][0]
    other = jax.device_get(Training(dataclasses.replace(DENSE, seed=1)).start())
    assert np.any(other.key != start.key)
    kernels = (s.task.d.params["first"]["kernel"] for s in (other, start))
    assert not np.array_equal(*kernels)


def test_everything_moves(played):
    start, state = played[0][0], played[0][3]
    assert int(state.step) == 3 and int(state.skipped) == 0
    for name in ("g", "d"):
        before, after = getattr(start.task, name), getattr(state.task, name)
        still = {
            jax.tree_util.keystr(path)
            for (path, x), (_, y) in zip(
                jax.tree_util.tree_leaves_with_path(before),
                jax.tree_util.tree_leaves_with_path(after),
                strict=True,
            )
            if np.array_equal(x, y) and x.size > 1  # a unit vector of one element cannot move
        }
        # Behind gamma = 0, attention's convolutions have no gradient in the first step only.
        assert still == set(), still


def test_one_step_follows_its_description(training, played):
    """One update of each player and the average, worked out again without the step's functions."""
    start, state = played[0][:2]
    images, labels = data.read(data.load(ONE_UPDATE.data, 8), range(512))
    batch = next(iter(training.pipeline.batches([(0, 1)])))
    chosen = np.asarray(batch["index"])[0, 0]
    real = jnp.asarray(images[chosen].astype(np.float32) * (2 / 255) - 1)
    label = jnp.asarray(labels[chosen])
    networks = training.task.gan.networks

    def own_vectors(player):
        return spectral.iterate(player.params, player.stats["spectral_stats"])

    def fakes(start, params, vectors, number):
        key = jax.random.fold_in(jax.random.wrap_key_data(start.key), 0)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.fold_in(key, number), jnp.arange(8)
        )
        z = jax.vmap(lambda k: jax.random.normal(k, (8,)))(keys)
        y = jax.vmap(lambda k: jax.random.randint(jax.random.fold_in(k, 1), (), 0, 4))(keys)
        weights = spectral.normalize(params, vectors)
        variables = {"params": weights, "batch_stats": start.task.g.stats["batch_stats"]}
        image, _ = networks.generator.apply(variables, z, y, train=True, mutable=["batch_stats"])
        return image, y

    def logits(params, vectors, image, y):
        weights = {"params": spectral.normalize(params, vectors)}
        return networks.discriminator.apply(weights, image, y, train=True)

    def expected(_, start, batch):
        g, d = start.task.g, start.task.d
        d_vectors, g_vectors = own_vectors(d), own_vectors(g)
        fake, y = fakes(start, g.params, g_vectors, 1)

        def d_loss(params):
            real_logits = logits(params, d_vectors, real, label)
            fake_logits = logits(params, d_vectors, fake, y)
            return jnp.maximum(0, 1 - real_logits).mean() + jnp.maximum(0, 1 + fake_logits).mean()

        adam = optax.adam(4e-4, 0.0, 0.9)
        d_value, d_gradient = jax.value_and_grad(d_loss)(d.params)
        updates, _ = adam.update(d_gradient, adam.init(d.params))
        d_params = optax.apply_updates(d.params, updates)
        d_stats = spectral.moved(d_vectors)
        frozen = spectral.iterate(d_params, d_stats)

        def g_loss(params):
            fake, y = fakes(start, params, g_vectors, 0)
            return -logits(d_params, frozen, fake, y).mean()

        adam = optax.adam(1e-4, 0.0, 0.9)
        g_value, g_gradient = jax.value_and_grad(g_loss)(g.params)
        updates, _ = adam.update(g_gradient, adam.init(g.params))
        g_params = optax.apply_updates(g.params, updates)
        scalars = {
            "loss/d": d_value,
            "loss/g": g_value,
            "grad_norm/d": optax.tree.norm(d_gradient),
            "grad_norm/g": optax.tree.norm(g_gradient),
        }
        return (d_params, g_params, d_stats, spectral.moved(g_vectors)), scalars

    # The networks average over the axis of devices, so this runs under it too.
    mapped = Devices(devices=jax.devices()[:1]).compile(expected, 2)
    found = mapped(jnp.zeros(1), training.devices.replicate(start), batch)
    (d_params, g_params, d_u, g_u), scalars = found
    # Adam's first update is the learning rate times the gradient's sign: leave room where the
    # gradient is nothing but rounding.
    close = functools.partial(np.testing.assert_allclose, atol=2e-4)
    jax.tree.map(close, state.task.d.params, jax.device_get(d_params))
    jax.tree.map(close, state.task.g.params, jax.device_get(g_params))
    moved = [
        np.abs(a - b).max()
        for a, b in zip(
            jax.tree.leaves(state.task.d.params), jax.tree.leaves(start.task.d.params), strict=True
        )
    ]
    assert max(moved) == pytest.approx(4e-4, rel=0.05)
    for ours, theirs in ((state.task.d, d_u), (state.task.g, g_u)):  # u moved exactly once
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, atol=1e-5),
            ours.stats["spectral_stats"],
            jax.device_get(theirs),
        )
    # G's first update is smaller than that room, so its gradient shows here alone.
    for name, value in scalars.items():
        assert float(played[1][0][name]) == pytest.approx(float(value), rel=1e-3), name
    # Before ema_start_step the average is the weights themselves.
    assert same_bits(state.task.ema, state.task.g.params) == []


def test_the_average_follows_after_its_start(played):
    for before, after in ((1, 2), (2, 3)):  # the second step is `ema_start_step`
        before, after = played[0][before].task, played[0][after].task
        expected = jax.tree.map(lambda a, b: 0.5 * a + 0.5 * b, before.ema, after.g.params)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), after.ema, expected)


def test_scalars_have_what_a_mechanism_needs(played):
    names = set(played[1][0])
    assert {
        "loss/d",
        "loss/g",
        "accuracy/real",
        "accuracy/fake",
        "grad_norm/d",
        "grad_norm/g",
        "gamma/g/attention_8",
        "gamma/d/attention_4",
        "sigma/g/output",
        "sigma/d/head",
    } <= names


def test_bfloat16_computes_with_float32_parameters(training, played):
    """A bfloat16 step takes the float32 run's first state and keeps the types of its arrays."""
    half = Training(replace(ONE_UPDATE, model={"dtype": "bfloat16"}))
    batch = next(iter(half.pipeline.batches([(0, 1)])))
    states, history = played
    start = jax.tree.map(lambda x: x.dtype, states[0])
    assert jax.tree.map(lambda x: x.dtype, half.abstract()) == start
    found = half.program(half.devices.replicate(states[0]), half.pipeline.data, batch)
    state, scalars = half.devices.fetch(found)
    types = jax.tree.map(lambda x: x.dtype, (state, scalars))
    assert types == jax.tree.map(lambda x: x.dtype, (states[1], history[0]))
    assert float(scalars["loss/d"]) == pytest.approx(float(history[0]["loss/d"]), rel=0.05)
    assert float(scalars["loss/d"]) != float(history[0]["loss/d"])


@pytest.mark.parametrize("unroll", [False, True], ids=["loop", "unrolled"])
def test_two_steps_in_one_dispatch_are_two_steps(dense, unroll):
    def change(task):
        task.unroll = unroll

    states, (scalars,) = Training(DENSE, change=change).play([(0, 2)])
    for name in ("loss/d", "loss/g"):
        assert float(scalars[name]) == pytest.approx(float(dense[1][1][name]), rel=1e-4)
    assert int(states[-1].step) == 2


def loops(training):
    """Counts the loops of a training step's program."""
    batch = next(iter(training.pipeline.batches([(0, 1)])))
    lowered = training.program.lower(training.abstract(), training.pipeline.data, batch)
    return lowered.as_text().count("stablehlo.while")


def test_updates_in_a_loop_are_the_unrolled_ones(dense_training, dense):
    def change(task):
        task.unroll, task.gan = True, task.gan._replace(unroll=True)

    training = Training(DENSE, change=change)
    assert loops(dense_training) == 1 + loops(training)
    (_, (unrolled,)), looped = training.play([(0, 1)]), dense[1][0]
    for name in ("loss/d", "loss/g", "grad_norm/d", "grad_norm/g"):
        assert float(looped[name]) == pytest.approx(float(unrolled[name]), rel=1e-5)


def test_accumulation_equals_the_large_batch_but_for_batch_statistics(dense):
    """A pair of networks without batch norm, from outside, makes the very same updates."""
    config = replace(ONE_UPDATE, model={"name": "support.plain_pair"})
    whole, _ = play(config, 1)
    parts, _ = play(replace(config, train={"accumulate_steps": 2}), 1)
    for player in ("g", "d"):  # Adam's first moment is the gradient here, beta1 being 0
        a, b = (getattr(s.task, player).opt_state[0].mu for s in (whole, parts))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), a, b)
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(a)) > 1e-2
    # With batch norm, its averages move once a part, and u still once an update.
    parts, _ = play(replace(DENSE, train={"accumulate_steps": 2}), 1)
    g = [state.task.g.stats for state in (dense[0][1], parts)]
    assert same_bits(*(stats["batch_stats"] for stats in g)) != []
    assert same_bits(*(stats["spectral_stats"] for stats in g)) == []
