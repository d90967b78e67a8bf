"""What families of GANs need of the step: paired losses, penalties, schedules, batch norm."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from support.tiny import CONFIG, same_bits
from support.training import Training, play

from sagan.config import replace
from sagan.tasks.gan.losses import GanLoss

PLAIN = replace(
    CONFIG,
    model={"name": "support.plain_pair"},
    data={"flip": False},
    train={"d_steps_per_g_step": 1},
    optim={"ema_start_step": 0},
)


@functools.cache
def after_one_step(config):
    """Returns the state after the first step, and its scalars. Each config is trained only once."""
    state, (scalars,) = play(config, 1)
    return state, scalars


def first_gradient(state, player):
    """Adam's first moment is the gradient here, beta1 being 0."""
    return getattr(state.task, player).opt_state[0].mu


def relativistic(real, fake):
    return jnp.mean(jax.nn.softplus(real - fake))


# RpGAN (Jolicoeur-Martineau, arXiv:1807.00734): each player compares real with generated images.
PAIRED = GanLoss(
    lambda real, fake: relativistic(fake, real), relativistic, generator_sees_real=True
)


def parts_of(training):
    """The networks, real images, and the generated ones of both updates of the first step."""
    start = jax.device_get(training.start())
    batch = next(iter(training.pipeline.batches([(0, 1)])))
    whole = jax.device_get(training.pipeline.data)
    chosen = np.asarray(batch["index"])[0, 0]
    real = whole["image"][chosen].astype(np.float32) * (2 / 255) - 1
    networks = training.task.gan.networks

    @functools.partial(jax.vmap, in_axes=(None, 0))
    def latent(number, index):
        key = jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(start.key)), 0)
        return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, number), index), (8,))

    def generate(params, number):
        z = latent(number, jnp.arange(8))
        return networks.generator.apply({"params": params}, z, None, train=True)

    def judge(params, image):
        return networks.discriminator.apply({"params": params}, image, None, train=True)

    return start.task, real, generate, judge


NO_SPECTRAL_NORM = replace(PLAIN, model={"spectral_norm_g": False, "spectral_norm_d": False})
BATCH_NORM = replace(NO_SPECTRAL_NORM, model={"d_batch_norm": True})


def test_a_paired_loss_shows_the_generator_real_images():
    def change(task):
        task.gan = task.gan._replace(loss=PAIRED)

    training = Training(NO_SPECTRAL_NORM, change=change)
    start, real, generate, judge = parts_of(training)
    (_, state), (scalars,) = training.play([(0, 1)])

    def d_loss(params):
        return relativistic(judge(params, generate(start.g.params, 1)), judge(params, real))

    def g_loss(params):
        d = state.task.d.params
        return relativistic(judge(d, real), judge(d, generate(params, 0)))

    for name, loss, params in (("d", d_loss, start.d.params), ("g", g_loss, start.g.params)):
        value, gradient = jax.jit(jax.value_and_grad(loss))(params)
        assert float(scalars[f"loss/{name}"]) == pytest.approx(float(value), rel=1e-4)
        expected, _ = ravel_pytree(gradient)
        np.testing.assert_allclose(first_gradient(state, name), expected, rtol=1e-3, atol=1e-6)


def test_two_penalties_at_once_add_up():
    one, other = (
        after_one_step(replace(PLAIN, train={"penalties": (text,)}))[1]
        for text in ("r1=10", "wgan_gp=0.5")
    )
    state, both = after_one_step(replace(PLAIN, train={"penalties": ("r1=10", "wgan_gp=0.5")}))
    expected = float(one["loss/penalty"]) + float(other["loss/penalty"])
    assert float(both["loss/penalty"]) == pytest.approx(expected, rel=1e-5)
    without, none = after_one_step(PLAIN)
    assert "loss/penalty" not in none and float(both["loss/d"]) == pytest.approx(
        float(none["loss/d"]), rel=1e-5
    )
    assert same_bits(state.task.d.params, without.task.d.params) != []


def test_a_penalty_weight_follows_its_schedule():
    """After 8 images a step, the weight has fallen from 10 to 0 linearly at the third step."""
    config = replace(PLAIN, train={"penalties": ("r1=linear:10:0:16",)})
    states, history = Training(config).play([(step, 1) for step in range(3)])
    fixed = replace(PLAIN, train={"penalties": ("r1=10",)})
    assert float(history[0]["loss/penalty"]) == pytest.approx(
        float(after_one_step(fixed)[1]["loss/penalty"]), rel=1e-6
    )
    assert float(history[1]["loss/penalty"]) > 0 and float(history[2]["loss/penalty"]) == 0


def test_learning_rates_beta2_and_the_average_follow_their_schedules():
    config = replace(
        PLAIN,
        optim={
            "g_learning_rate": "linear:1e-3:0:16",
            "d_learning_rate": "cosine:1e-3:0:16",
            "beta2": "linear:0.9:0.99:16",
            "ema_decay": "linear:0:0.75:16",
        },
    )
    states, _ = Training(config).play([(step, 1) for step in range(3)])
    third, last = states[2].task, states[3].task
    for player in ("g", "d"):  # both rates are 0 at the third step
        assert same_bits(getattr(third, player).params, getattr(last, player).params) == []
        assert same_bits(getattr(third, player).opt_state, getattr(last, player).opt_state) != []
    expected = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, third.ema, last.g.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), last.ema, expected)


def test_batch_statistics_of_the_discriminator_keep_real_and_generated_images_apart():
    training = Training(BATCH_NORM)
    start, real, generate, _ = parts_of(training)
    state, _ = after_one_step(BATCH_NORM)
    found = state.task.d.stats["batch_stats"]["norm"]["statistics"]
    first = start.d.params["first"]

    def features(image):
        flat = np.asarray(image).reshape(8, -1)
        return np.maximum(flat @ first["kernel"] + first["bias"], 0)

    # The running mean starts at 0 and moves halfway to each of the two batches, real ones first.
    fake = jax.jit(generate, static_argnums=1)(start.g.params, 1)
    a, b = features(real).mean(0), features(fake).mean(0)
    np.testing.assert_allclose(found["mean"], 0.5 * (0.5 * a) + 0.5 * b, rtol=1e-4, atol=1e-6)
    # The generator's update runs D too, but it owns nothing of D.
    assert state.task.g.stats["batch_stats"] == {}


def test_batch_statistics_of_the_discriminator_are_those_of_all_devices():
    one, first = after_one_step(BATCH_NORM)
    two, (second,) = play(BATCH_NORM, 1, devices=2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        one.task.d.stats,
        two.task.d.stats,
    )
    assert float(first["loss/d"]) == pytest.approx(float(second["loss/d"]), rel=1e-4)


def test_the_second_derivative_of_convolutions_and_attention_runs_in_the_step():
    """R1 with SAGAN's networks. test_combinations.py has all penalties, but only dense networks."""
    config = replace(CONFIG, train={"penalties": ("r1=1",), "d_steps_per_g_step": 1})
    state, scalars = after_one_step(config)
    assert np.isfinite(scalars["loss/penalty"]) and float(scalars["loss/penalty"]) > 0
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))
