"""One step of the game: who moves what, by how much, on how many devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.tiny import CONFIG, changed, play, same_bits

from sagan import data
from sagan.bench.setup import Setup
from sagan.data.pipeline import Pipeline
from sagan.models.layers import spectral
from sagan.parallel import jaxprs
from sagan.parallel.devices import Devices
from sagan.tasks.gan import step as train_step


@pytest.fixture(scope="module")
def played():
    """The state at the start, and after each of three steps on one device."""
    gan = train_step.build(CONFIG, 1)
    start = jax.device_get(jax.jit(functools.partial(train_step.init, gan))())
    return gan, start, play(CONFIG, 3)


def test_two_runs_with_one_seed_are_identical(played):
    state, history = play(CONFIG, 3)
    assert same_bits(state, played[2][0]) == []
    assert same_bits(history, played[2][1]) == []


def test_another_seed_is_another_run(played):
    gan = train_step.build(dataclasses.replace(CONFIG, seed=1), 1)
    other = jax.device_get(jax.jit(functools.partial(train_step.init, gan))())
    assert np.any(other.key != played[1].key)
    kernels = (s.d.params["block1"]["conv1"]["kernel"] for s in (other, played[1]))
    assert not np.array_equal(*kernels)


def test_everything_moves(played):
    _, start, (state, _) = played
    assert int(state.step) == 3
    for name in ("g", "d"):
        before, after = getattr(start, name), getattr(state, name)
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


def test_one_step_follows_its_description(played):
    """One D update, one G update and the average, worked out again without the step's helpers."""
    config = changed(CONFIG, train={"d_steps_per_g_step": 1}, data={"flip": False})
    gan = train_step.build(config, 1)
    start = jax.jit(functools.partial(train_step.init, gan))()
    images, labels = data.read(data.load(config.data, 8), range(512))
    seam = Devices(devices=jax.devices()[:1])
    batch = next(Pipeline(config, data.load(config.data, 8), seam, 1).batches(0))
    chosen = np.asarray(batch["index"])[0, 0]
    real = jnp.asarray(images[chosen].astype(np.float32) * (2 / 255) - 1)
    label = jnp.asarray(labels[chosen])
    network_g, network_d = gan.generator.clone(), gan.discriminator

    def own_vectors(player):
        return spectral.iterate(player.params, player.stats["spectral_stats"])

    def fakes(params, vectors, number):
        key = jax.random.fold_in(jax.random.wrap_key_data(start.key), 0)
        keys = [jax.random.fold_in(jax.random.fold_in(key, number), i) for i in range(8)]
        z = jnp.stack([jax.random.normal(k, (8,)) for k in keys])
        y = jnp.stack([jax.random.randint(jax.random.fold_in(k, 1), (), 0, 4) for k in keys])
        weights = spectral.normalize(params, vectors)
        variables = {"params": weights, "batch_stats": start.g.stats["batch_stats"]}
        return network_g.apply(variables, z, y, train=True, mutable=["batch_stats"])[0], y

    def logits(params, vectors, image, y):
        return network_d.apply(
            {"params": spectral.normalize(params, vectors)}, image, y, train=True
        )

    @functools.partial(
        jax.shard_map, mesh=seam._mesh, in_specs=(), out_specs=jax.P(), check_vma=False
    )
    def expected():
        d_vectors, g_vectors = own_vectors(start.d), own_vectors(start.g)
        fake, y = fakes(start.g.params, g_vectors, 1)

        def d_loss(params):
            real_logits = logits(params, d_vectors, real, label)
            fake_logits = logits(params, d_vectors, fake, y)
            return jnp.maximum(0, 1 - real_logits).mean() + jnp.maximum(0, 1 + fake_logits).mean()

        adam = optax.adam(4e-4, 0.0, 0.9)
        updates, _ = adam.update(jax.grad(d_loss)(start.d.params), adam.init(start.d.params))
        d_params = optax.apply_updates(start.d.params, updates)
        d_stats = spectral.moved(d_vectors)
        frozen = spectral.iterate(d_params, d_stats)

        def g_loss(params):
            fake, y = fakes(params, g_vectors, 0)
            return -logits(d_params, frozen, fake, y).mean()

        adam = optax.adam(1e-4, 0.0, 0.9)
        updates, _ = adam.update(jax.grad(g_loss)(start.g.params), adam.init(start.g.params))
        g_params = optax.apply_updates(start.g.params, updates)
        return d_params, g_params, d_stats, spectral.moved(g_vectors), d_loss(start.d.params)

    d_params, g_params, d_u, g_u, loss = jax.jit(expected)()
    state, history = play(config, 1)
    # Adam's first update is the learning rate times the gradient's sign: leave room where the
    # gradient is nothing but rounding.
    close = functools.partial(np.testing.assert_allclose, atol=2e-4)
    jax.tree.map(close, state.d.params, jax.device_get(d_params))
    jax.tree.map(close, state.g.params, jax.device_get(g_params))
    moved = [
        np.abs(a - b).max()
        for a, b in zip(
            jax.tree.leaves(state.d.params), jax.tree.leaves(start.d.params), strict=True
        )
    ]
    assert max(moved) == pytest.approx(4e-4, rel=0.05)
    for ours, theirs in ((state.d, d_u), (state.g, g_u)):  # u moved exactly once
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, atol=1e-5),
            ours.stats["spectral_stats"],
            jax.device_get(theirs),
        )
    assert float(history[0]["loss/d"]) == pytest.approx(float(loss), rel=1e-4)
    # Before ema_start_step the average is the weights themselves.
    assert same_bits(state.ema, state.g.params) == []


def test_the_average_follows_after_its_start(played):
    before, _ = play(CONFIG, 2)
    after = played[2][0]
    expected = jax.tree.map(lambda a, b: 0.5 * a + 0.5 * b, before.ema, after.g.params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), after.ema, expected)


def test_scalars_have_what_a_mechanism_needs(played):
    names = set(played[2][1][0])
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


@pytest.mark.parametrize("penalty", ["r1", "wgan_gp"])
def test_penalties_are_weighted_into_the_loss(penalty):
    config = changed(CONFIG, train={"penalty": penalty, "d_steps_per_g_step": 1})
    _, history = play(config, 1)
    assert np.isfinite(history[0]["loss/penalty"]) and float(history[0]["loss/penalty"]) > 0


def test_bfloat16_computes_with_float32_parameters():
    config = changed(CONFIG, model={"dtype": "bfloat16"}, train={"d_steps_per_g_step": 1})
    state, history = play(config, 1)
    expected, exact = play(changed(config, model={"dtype": "float32"}), 1)
    types = jax.tree.map(lambda x: x.dtype, (state, history))
    assert types == jax.tree.map(lambda x: x.dtype, (expected, exact))
    assert float(history[0]["loss/d"]) == pytest.approx(float(exact[0]["loss/d"]), rel=0.05)
    assert float(history[0]["loss/d"]) != float(exact[0]["loss/d"])


def test_two_steps_in_one_dispatch_are_two_steps(played):
    seam = Devices(devices=jax.devices()[:1])
    pipeline = Pipeline(CONFIG, data.load(CONFIG.data, 8), seam, 2)
    program = seam.compile(functools.partial(train_step.program, played[0]), Pipeline.BATCH_AXIS)
    state = seam.create(functools.partial(train_step.init, played[0]))
    state, scalars = program(state, pipeline.data, next(pipeline.batches(0)))
    one_by_one, history = play(CONFIG, 2)
    for name in ("loss/d", "loss/g"):
        assert float(scalars[name]) == pytest.approx(float(history[1][name]), rel=1e-4)
    assert int(state.step) == int(one_by_one.step) == 2


def test_updates_in_a_loop_are_the_unrolled_ones(monkeypatch):
    """The package's layers loop on the CPU; what holds a convolution, as on accelerators, not."""
    looped = _loops(CONFIG)
    state, history = play(CONFIG, 1)
    monkeypatch.setattr(jaxprs, "calls", lambda *_: True)
    assert looped == 1 + _loops(CONFIG)
    expected, unrolled = play(CONFIG, 1)
    for name in ("loss/d", "loss/g", "grad_norm/d", "grad_norm/g"):
        assert float(history[0][name]) == pytest.approx(float(unrolled[0][name]), rel=1e-5)
    assert int(state.step) == int(expected.step) == 1


def test_another_models_convolutions_are_kept_out_of_loops_on_the_cpu(monkeypatch, tmp_path):
    (tmp_path / "convolving.py").write_text(PLAIN.replace("image.reshape", CONVOLVED))
    monkeypatch.syspath_prepend(tmp_path)
    config = changed(CONFIG, model={"name": "convolving"})
    unrolled = _loops(config)
    monkeypatch.setattr(jaxprs, "calls", lambda *_: False)
    assert _loops(config) == 1 + unrolled


CONVOLVED = "nn.Conv(3, (3, 3))(image).reshape"


def _loops(config):
    setup = Setup(config)
    arguments = setup.create(), setup.pipeline.data, next(setup.batches)
    lowered = setup.compile(setup.dispatch()).lower(*arguments)
    return lowered.as_text().count("stablehlo.while")


def test_accumulation_equals_the_large_batch_but_for_batch_statistics(tmp_path, monkeypatch):
    """A model without batch norm, from outside, accumulates to the very same updates."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "pair.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(tmp_path)
    config = changed(CONFIG, model={"name": "plain.pair"}, train={"d_steps_per_g_step": 1})
    whole, _ = play(config, 1)
    parts, _ = play(changed(config, train={"accumulate_steps": 2}), 1)
    for player in ("g", "d"):  # Adam's first moment is the gradient here, beta1 being 0
        a, b = (getattr(s, player).opt_state[0].mu for s in (whole, parts))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), a, b)
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(a)) > 1e-2
    # With batch norm, its averages move once a part, and u still once an update.
    whole, _ = play(changed(CONFIG, train={"d_steps_per_g_step": 1}), 1)
    parts, _ = play(changed(CONFIG, train={"d_steps_per_g_step": 1, "accumulate_steps": 2}), 1)
    assert same_bits(whole.g.stats["batch_stats"], parts.g.stats["batch_stats"]) != []
    u = [state.g.stats["spectral_stats"] for state in (whole, parts)]
    assert same_bits(*u) == []


PLAIN = """
import flax.linen as nn
from sagan.models import Networks


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z, label, *, train):
        return nn.tanh(nn.Dense(8 * 8 * 3)(z)).reshape(-1, 8, 8, 3)


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, image, label, *, train):
        return nn.Dense(1)(nn.relu(nn.Dense(16)(image.reshape(-1, 192))))[:, 0]


def check(config):
    pass


def build(config, axis_name=None, axis_index_groups=None):
    return Networks(Generator(), Discriminator())
"""
