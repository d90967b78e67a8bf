"""One training step of the Image Transformer: the rate, the loss, devices, and resuming."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.closeness import differing
from support.tiny import same_bits
from support.tiny_transformer import CONFIG
from support.training import Training

from sagan import tasks
from sagan.config import ConfigError, make, replace
from sagan.models import image_transformer
from sagan.tasks.image_transformer import step as steps
from sagan.tasks.image_transformer.sections import OptimConfig

STEPS = [(number, 1) for number in range(4)]


@pytest.fixture(scope="module")
def played():
    return Training(CONFIG).play(STEPS)


def by_name(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in found}


def test_four_devices_do_the_same_as_one(played):
    training = Training(CONFIG, devices=4)
    carried = training.devices.replicate(played[0][0])
    for batch, one in zip(training.pipeline.batches(STEPS), played[1], strict=True):
        carried, four = training.program(carried, training.pipeline.data, batch)
        assert one["loss"] == pytest.approx(float(training.devices.fetch(four)["loss"]), rel=1e-5)
    moved = [played[0][-1], training.devices.fetch(carried)]
    assert differing(*(by_name(state.task.params) for state in moved)) == []


def test_a_resumed_run_is_the_same_bit_for_bit(played):
    training = Training(CONFIG)
    carried = training.devices.replicate(played[0][2])
    for batch in training.pipeline.batches(STEPS[2:]):
        carried, _ = training.program(carried, training.pipeline.data, batch)
    assert same_bits(training.devices.fetch(carried), played[0][-1]) == []


def test_everything_moves_and_the_average_follows(played):
    before, after = (by_name(played[0][number].task.params) for number in (0, 4))
    still = [name for name, x in before.items() if np.array_equal(x, after[name])]
    assert still == []
    last, ema = played[0][3].task.ema, by_name(played[0][4].task.ema)
    for name, old in by_name(last).items():
        np.testing.assert_allclose(ema[name], (old + after[name]) / 2, rtol=1e-5, atol=1e-7)


def test_one_step_is_adam_on_the_mean_loss():
    """Without dropout, worked out again for the images of the first batch."""
    config = replace(CONFIG, model={"dropout": 0.0})
    training = Training(config)
    (start, state), (scalars,) = training.play(STEPS[:1])
    model, network = config.model, image_transformer.build(config.model)
    distribution = image_transformer.distribution_of(model)
    batch = next(iter(training.pipeline.batches([(0, 1)])))
    chosen = np.asarray(batch["index"])[0, 0]
    whole = training.pipeline.data
    images = np.asarray(whole["image"])[chosen].astype(np.float32) * (2 / 255) - 1
    labels = np.asarray(whole["label"])[chosen]

    def of_image(params, image, label):
        tokens = image_transformer.tokens_of(model, image)
        out = network.apply({"params": params}, tokens, label)
        logs = distribution.log_probability(out, tokens)
        return distribution.loss(out, tokens, 0.1).mean(), -logs.mean() / math.log(2)

    def loss(params):
        losses, bits = jax.vmap(of_image, (None, 0, 0))(params, images, labels)
        return losses.mean(), bits.mean()

    (value, bits), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(start.task.params)
    assert scalars["loss"] == pytest.approx(float(value) / math.log(2), rel=1e-5)
    assert scalars["bits_per_dim"] == pytest.approx(float(bits), rel=1e-5)
    rate = 0.01 / 2  # the first of two steps of warming up
    for name, g in by_name(gradient).items():
        old, new = (by_name(x.task.params)[name] for x in (start, state))
        expected = old - rate * g / (np.abs(g) + config.optim.epsilon)  # Adam's first step
        large = np.abs(g) > 1e-6  # where rounding does not decide the sign
        np.testing.assert_allclose(new[large], np.asarray(expected)[large], atol=2e-5)


def test_learning_rates():
    noam = OptimConfig(learning_rate=0.5, warmup_steps=4000)
    at = [float(steps.learning_rate(noam, 512, jnp.float32(n))) for n in (0, 3999, 15999)]
    peak = 0.002 * 0.5 * 5000 * 512**-0.5 * 4000**-0.5
    assert at == pytest.approx([peak / 4000, peak, peak / 2], rel=1e-5)
    cycle = OptimConfig(schedule="one_cycle", learning_rate=2.0, warmup_steps=10, decay_steps=110)
    at = [float(steps.learning_rate(cycle, 512, jnp.float32(n))) for n in (4, 9, 59, 109, 500)]
    assert at == pytest.approx([1, 2, 1, 0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"train": {"steps": 9}}, ["train.steps=9", "optim.decay_steps=8"]),
        ({"model": {"output": "logistics"}}, ["train.soften=0.1", "logistics"]),
        ({"optim": {"beta2": "linear:0.9:0.99:9"}}, ["optim.beta2", "a number"]),
        ({"train": {"loss": "hinge"}}, ["train.loss"]),
    ],
)
def test_settings_that_do_not_fit(changes, facts):
    with pytest.raises(ConfigError) as error:
        tasks.check(replace(CONFIG, **changes))
    assert all(fact in str(error.value) for fact in facts)


def test_networks_of_the_other_task_are_refused():
    with pytest.raises(ConfigError, match="model.name='sagan' with task=image_transformer"):
        tasks.check(make(task="image_transformer", model={"name": "sagan", "num_classes": 10}))
    with pytest.raises(ConfigError, match="model.name='image_transformer' with task=gan"):
        tasks.check(make(model={"name": "image_transformer", "num_classes": 10}))


def test_sizes():
    task = tasks.build(CONFIG)
    params = task.parameters(jax.eval_shape(lambda: task.init([jax.random.key(0)])))
    assert list(params) == ["transformer"]
    assert task.activation_bytes(6) == 6 * task.activation_bytes(1) > 6 * 64 * 17 * 4
