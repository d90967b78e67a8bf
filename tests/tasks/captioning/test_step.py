"""One training step, against a restatement in PyTorch and against exact expectations."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny import same_bits
from support.tiny_captions import CONFIG, Squares, annotate
from support.training import Training

from sagan import data, tasks
from sagan.config import replace
from sagan.data.pipeline import Batch
from sagan.parallel.devices import AXIS
from sagan.parallel.keys import index_keys
from sagan.tasks.captioning.step import Draws, buckets, draw, losses, train_step, write

# Adam's step is then a smooth function of the gradient.
SMOOTH = replace(CONFIG, optim={"epsilon": 1.0, "learning_rate": 1.0})
HARD = replace(SMOOTH, model={"attention": "hard"})


def examples(count):
    images, _, fields = data.read_all(Squares(), range(count))
    image = images.astype(np.float32) / 127.5 - 1
    return Batch(image, None, {"captions": fields["captions"][:, :1]})


seen = jax.jit(annotate)


@functools.cache
def opened(config):
    task = tasks.build(config)
    return task, first_state(config.model)


@functools.cache
def first_state(model):
    """Returns the first state of a model. It depends on no other section of the config."""
    task = tasks.build(dataclasses.replace(SMOOTH, model=model))
    return jax.jit(task.init)(list(jax.random.split(jax.random.key(3), 3)))


@functools.cache
def drawer(config, size):
    """Returns a compiled function from the key of a step to the random numbers of its batch."""
    task, _ = opened(config)

    def drawn(key):
        keys = index_keys(jax.random.fold_in(key, 0), 0, size)
        return draw(task.parts, keys, key, 5, 4)

    return jax.jit(drawn)


@functools.cache
def stepper(config):
    """Returns a compiled function of a state, a batch in parts (one per device), and a key."""
    task, _ = opened(config)

    @jax.jit
    def steps(state, parts, key):
        step = jax.vmap(
            lambda part: train_step(task.parts, state, part, jnp.int32(0), key), axis_name=AXIS
        )
        return jax.tree.map(lambda x: x[0], step(parts))

    return steps


def stepped(config, batch, devices, key):
    """Takes a step on so many devices, which `vmap` stands for."""
    parts = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
    return stepper(config)(opened(config)[1], parts, key)


def key_that(samples):
    """Returns a key of a step in which hard attention draws its places, or does not."""
    keys = map(jax.random.key, itertools.count())
    return next(key for key in keys if bool(drawer(HARD, 8)(key).samples) == samples)


def restated(config, batch, key):
    """Takes the same step with PyTorch, from the formulas of the paper and its code."""
    torch = pytest.importorskip("torch")
    state = opened(config)[1]
    caption = torch.tensor(np.asarray(batch.fields["captions"][:, 0])).long()
    size, length = caption.shape
    draws = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), drawer(config, size)(key))
    a = torch.tensor(np.asarray(seen(state.encoder, batch.image)))
    flat = jax.tree_util.tree_leaves_with_path(state.params)
    p = {
        "/".join(k.key for k in path): torch.tensor(np.asarray(x), requires_grad=True)
        for path, x in flat
    }

    def dense(name, x):
        y = x @ p[f"{name}/kernel"]
        return y + p[f"{name}/bias"] if f"{name}/bias" in p else y

    start = torch.relu(dense("start_hidden", a.mean(1)))
    h, c = torch.tanh(dense("start_h", start)), torch.tanh(dense("start_c", start))
    places = torch.tanh(dense("place", dense("place_hidden", a)))
    nll, log_place, entropy, alphas = 0.0, 0.0, 0.0, 0.0
    going = torch.ones(size, dtype=torch.bool)
    for t in range(length):
        word = p["words/embedding"][caption[:, t - 1]] if t else torch.zeros(size, 4)
        scores = dense("score", torch.tanh(places + dense("query", h)[:, None]))[..., 0]
        alpha = used = torch.softmax(scores, -1)
        if draws.gumbel is not None and draws.samples:
            best = (alpha.log() + draws.gumbel[t]).argmax(-1)
            used = torch.nn.functional.one_hot(best, 4).float()
        z = torch.sigmoid(dense("gate", h)) * (used[..., None] * a).sum(1)
        gates = dense("lstm", torch.cat([word, z], -1)) + dense("recurrent", h)
        i, f, o, g = gates.chunk(4, -1)
        new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        new_h = torch.sigmoid(o) * torch.tanh(new_c)
        c = torch.where(going[:, None], new_c, c)
        h = torch.where(going[:, None], new_h, h)
        out = torch.tanh(word + dense("out_h", h * draws.masks.h[t]) + dense("out_z", z))
        logits = dense("out", out * draws.masks.out[t])
        word_nll = torch.nn.functional.cross_entropy(logits, caption[:, t], reduction="none")
        nll = nll + word_nll * going
        log_place = log_place + (used * alpha.log()).sum(-1) * going
        entropy = entropy - (alpha * alpha.log()).sum(-1) * going
        alphas = alphas + alpha
        going = going & (caption[:, t] != 0)
    words = (caption != 0).sum(1) + 1
    loss = nll.mean()
    if draws.gumbel is None:
        loss = loss + ((1 - alphas) ** 2).sum(-1).mean()
    else:
        loss = loss - 0.002 * entropy.mean()
        if draws.samples:
            loss = loss + 0.1 * ((nll / words).detach() * log_place).mean()  # the baseline is 0
    loss.backward()
    torch.optim.Adam(p.values(), lr=1.0, eps=1.0).step()
    return {name: x.detach().numpy() for name, x in p.items()}, float((nll / words).detach().mean())


@pytest.mark.parametrize(
    ("config", "samples"),
    [(SMOOTH, True), (HARD, True), (HARD, False)],
    ids=["soft", "hard", "hard, expected value"],
)
def test_a_step_equals_one_in_pytorch(config, samples):
    batch, key = examples(8), key_that(samples)
    state, scalars = stepped(config, batch, 1, key)
    expected, per_word = restated(config, batch, key)
    moved = {
        "/".join(k.key for k in path): x
        for path, x in jax.tree_util.tree_leaves_with_path(state.params)
    }
    assert moved.keys() == expected.keys()
    for name, x in moved.items():
        np.testing.assert_allclose(x, expected[name], rtol=1e-4, atol=2e-6, err_msg=name)
    np.testing.assert_allclose(state.baseline, 0.1 * per_word, rtol=1e-5)
    assert same_bits(state.encoder, opened(config)[1].encoder) == []


@pytest.mark.parametrize("config", [SMOOTH, HARD], ids=["soft", "hard"])
def test_four_devices_take_the_step_of_one(config):
    batch, key = examples(8), key_that(True)
    one, four = (stepped(config, batch, devices, key) for devices in (1, 4))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def cut_short(config, number):
    """Returns a config whose steps have 3 or 5 words, and examples of which so many need 5."""
    batch = examples(8)
    _, _, fields = data.read_all(Squares(), range(8))
    rows = fields["captions"][:, 1:].copy()
    rows[:number] = batch.fields["captions"][:number]
    cut = replace(config, train={"length_buckets": 2})
    return cut, batch._replace(fields={"captions": rows})


def test_words_behind_the_end_of_all_captions_change_nothing():
    cut, batch = cut_short(HARD, 0)
    some, every = (stepped(config, batch, 1, key_that(True)) for config in (cut, HARD))
    for x, y in zip(jax.tree.leaves(some), jax.tree.leaves(every), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


def test_devices_agree_on_the_number_of_words():
    cut, batch = cut_short(SMOOTH, 1)  # only the first device has a long caption
    one, four = (stepped(cut, batch, devices, key_that(True)) for devices in (1, 4))
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
    shorter = stepped(*cut_short(SMOOTH, 0), 1, key_that(True))[1]["loss/attention"]
    assert shorter != one[1]["loss/attention"]  # the penalty is that of three words, not of five


def test_numbers_of_words():
    assert buckets(31, 5) == [7, 13, 19, 25, 31] and buckets(5, 1) == [5]
    assert buckets(3, 9) == [1, 2, 3]


def test_two_real_devices_equal_one():
    steps = [(0, 1), (1, 1)]
    (start, _, one), _ = Training(SMOOTH).play(steps)
    training = Training(SMOOTH, devices=2)
    two = training.devices.replicate(start)
    for batch in training.pipeline.batches(steps):
        two, _ = training.program(two, training.pipeline.data, batch)
    params = one.task.params, training.devices.fetch(two).task.params
    for a, b in zip(*map(jax.tree.leaves, params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_attention_sums_to_1_and_the_penalty_of_uniform_attention_is_known():
    task, state = opened(SMOOTH)
    batch = examples(4)
    caption = batch.fields["captions"][:, 0]

    @jax.jit
    def run(params, a, caption):
        written = write(task.parts.network, params, a, caption, Draws())
        uniform = written._replace(alpha=jnp.full((4, 5, 4), 0.25))
        return written, losses(uniform, caption, jnp.zeros(()), False, None, SMOOTH.train)[1]

    written, scalars = run(state.params, seen(state.encoder, batch.image), caption)
    np.testing.assert_allclose(np.asarray(written.alpha).sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(scalars["loss/attention"], 4 * (1 - 5 / 4) ** 2, rtol=1e-6)


def test_the_gradient_of_hard_attention_is_right_in_expectation():
    """Sums the estimator over all 16 ways to look at 4 places for 2 words."""
    config = replace(HARD, train={"reinforce_weight": 2.0, "entropy_weight": 0.0})
    task, state = opened(config)
    a = seen(state.encoder, examples(1).image)
    caption = jnp.array([[2, 0]])  # one word and the end
    baseline, samples = jnp.float32(0.7), jnp.array(True)

    def written(params, places):
        forced = 1e6 * jax.nn.one_hot(places, 4)[:, None]
        found = write(task.parts.network, params, a, caption, Draws(None, forced, samples))
        return found, (found.used * found.alpha).sum(-1).prod()

    def estimate(params, places):
        found, _ = written(params, places)
        return losses(found, caption, baseline, True, samples, config.train)[0]

    def exact(params, places):
        found, chance = written(params, places)
        _, scalars = losses(found, caption, baseline, True, samples, config.train)
        return chance * scalars["loss/caption"]

    @functools.partial(jax.vmap, in_axes=(None, 0))
    def both(params, places):
        chance = written(params, places)[1]
        mean = jax.tree.map(lambda x: chance * x, jax.grad(estimate)(params, places))
        return mean, jax.grad(exact)(params, places)

    @jax.jit
    def sums(params, ways):
        return jax.tree.map(lambda x: x.sum(0), both(params, ways))

    ways = np.array(list(itertools.product(range(4), repeat=2)))
    total, expected = jax.device_get(sums(state.params, ways))
    assert np.abs(expected["query"]["kernel"]).max() > 1e-6
    for x, y in zip(jax.tree.leaves(total), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-6)
