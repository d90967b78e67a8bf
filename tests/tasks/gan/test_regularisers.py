"""Regularisers against PyTorch and NumPy, and those of the whole batch on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.data.pipeline import Batch
from sagan.parallel.devices import AXIS
from sagan.tasks.gan.optimizer import orthogonalised
from sagan.tasks.gan.regularisers import REGULARISERS, Update, shifted

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.uniform(-1, 1, (2, 4, 16, 16, 3)).astype(np.float32)
WEIGHT = RNG.normal(size=(16, 16, 3)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(0), 4)


def discriminate(image, label):
    """Logits that are curved in the image."""
    return jnp.sin(image * WEIGHT[None]).sum((1, 2, 3))


def update(keys, number=2000, scale=1.0, real=REAL, fake=FAKE):
    """An update of which `scale` multiplies all logits, as if it were a parameter of D."""

    def judge(image, label):
        return scale * discriminate(image, label)

    def near(move):
        return jnp.asarray(fake) + 0.1 * move.sum(1)[:, None, None, None] * WEIGHT[None]

    none = jnp.zeros(4, jnp.int32)
    batches = [Batch(jnp.asarray(x), none) for x in (real, fake)]
    logits = [judge(batch.image, none) for batch in batches]
    return Update(*batches, *logits, judge, near, 5, keys, jnp.int32(number))


def of_discriminator(name, state=None, **options):
    """The term, its gradient by `scale`, and the next state."""

    def term(scale, keys):
        return REGULARISERS[name].discriminator(update(keys, scale=scale, **options), state)

    one = jax.vmap(jax.value_and_grad(term, has_aux=True), (0, None), axis_name=AXIS)
    (value, state), slope = jax.jit(one)(np.ones(1, np.float32), KEYS)
    return float(value[0]), float(slope[0]), jax.tree.map(lambda x: float(x[0]), state)


def logits_in_torch(torch, image, scale):
    x = torch.tensor(np.asarray(image)) * torch.tensor(WEIGHT)
    return scale * torch.sin(x).sum((1, 2, 3))


def moved_by_hand(image, keys):
    """Mirrored with probability 1/2, then cut at a random place from the image and 2 px more."""
    found = []
    for x, key in zip(image, keys, strict=True):
        flip, down, right = np.asarray(jax.random.uniform(key, (3,)))
        x = np.pad(x, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        x = x[:, ::-1] if flip < 0.5 else x
        y, z = int(5 * down), int(5 * right)
        found.append(x[y : y + 16, z : z + 16])
    return np.stack(found)


def near_by_hand():
    noise = jax.jit(jax.vmap(lambda key: jax.random.normal(key, (5,))))(KEYS)
    move = 0.05 * np.asarray(noise).sum(1)
    return FAKE + 0.1 * move[:, None, None, None] * WEIGHT[None]


@pytest.mark.parametrize("name", ["cr", "bcr", "zcr_d"])
def test_consistency_agrees_with_torch(name):
    torch = pytest.importorskip("torch")
    scale = torch.ones((), requires_grad=True)
    pairs = {
        "cr": [(REAL, moved_by_hand(REAL, KEYS))],
        "bcr": [(image, moved_by_hand(image, KEYS)) for image in (REAL, FAKE)],
        "zcr_d": [(FAKE, near_by_hand())],
    }[name]
    mse = torch.nn.functional.mse_loss
    expected = sum(mse(*(logits_in_torch(torch, x, scale) for x in pair)) for pair in pairs)
    expected.backward()
    value, slope, _ = of_discriminator(name)
    assert value == pytest.approx(float(expected.detach()), rel=1e-4)
    assert slope == pytest.approx(float(scale.grad), rel=1e-4)


def test_zcr_pushes_images_of_close_latents_apart():
    found = float(jax.jit(lambda keys: REGULARISERS["zcr_g"].generator(update(keys)))(KEYS))
    assert found == pytest.approx(-np.mean((FAKE - near_by_hand()) ** 2), rel=1e-4)


def test_images_are_mirrored_half_of_the_time_and_moved_by_up_to_an_eighth():
    keys = jax.random.split(jax.random.key(1), 200)
    row = np.arange(16, dtype=np.float32)
    image = np.broadcast_to(row[None, :, None], (200, 16, 16, 1))
    found = np.asarray(jax.jit(shifted)(image, keys))[:, 8, 7:9, 0]
    mirrored = found[:, 0] > found[:, 1]
    assert 0.4 < mirrored.mean() < 0.6
    assert {*found[~mirrored, 0]} == {5, 6, 7, 8, 9}


def test_lecam_agrees_with_torch_over_three_updates():
    """The averages move before they are used, and real logits meet the average of the others."""
    torch = pytest.importorskip("torch")
    means = {"real": torch.tensor(0.0), "fake": torch.tensor(0.0)}
    state = {"real": jnp.zeros(()), "fake": jnp.zeros(())}
    for number in (10, 999, 1000):
        scale = torch.full((), 1.0, requires_grad=True)
        real, fake = (logits_in_torch(torch, x, scale) for x in (REAL, FAKE))
        decay = 0.99 if number >= 1000 else 0.0
        for name, logits in (("real", real), ("fake", fake)):
            means[name] = decay * means[name] + (1 - decay) * logits.mean().detach()
        up = (real - means["fake"]).clamp(0) ** 2
        down = (means["real"] - fake).clamp(0) ** 2
        expected = up.mean() + down.mean()
        expected.backward()
        value, slope, found = of_discriminator("lecam", state, number=number)
        assert value == pytest.approx(float(expected.detach()), rel=1e-4)
        assert slope == pytest.approx(float(scale.grad), rel=1e-4)
        for name, mean in means.items():
            assert found[name] == pytest.approx(float(mean), rel=1e-5)
        state = jax.tree.map(jnp.float32, found)


@pytest.mark.parametrize("count", [1, 4])
def test_topk_keeps_the_best_of_the_whole_batch(count):
    logits = np.array([0.3, -1.0, 2.0, 0.3, 0.1, 5.0, -2.0, 0.2], np.float32)
    select = jax.vmap(lambda x: REGULARISERS["topk"].select(x, 0.5), axis_name=AXIS)
    weights = np.asarray(jax.jit(select)(logits.reshape(count, -1))).reshape(-1)
    best = np.argsort(-np.asarray(logits), kind="stable")[:4]
    expected = np.zeros(8)
    expected[best] = 2
    np.testing.assert_array_equal(weights, expected)


def test_orthogonal_regularisation_is_the_gradient_that_torch_finds():
    torch = pytest.importorskip("torch")
    kernel = RNG.normal(size=(3, 3, 2, 5)).astype(np.float32)
    params = {
        "a": {"kernel": jnp.asarray(kernel), "bias": jnp.ones(5)},
        "e": {"embedding": jnp.asarray(kernel)},
    }
    zeros = jax.tree.map(jnp.zeros_like, params)
    found = jax.jit(orthogonalised, static_argnums=2)(zeros, params, 1e-2)
    w = torch.tensor(kernel, requires_grad=True)
    rows = w.reshape(-1, 5).T
    penalty = ((rows @ rows.T) * (1 - torch.eye(5))).square().sum() / 2
    (1e-2 * penalty).backward()
    np.testing.assert_allclose(found["a"]["kernel"], w.grad, rtol=1e-4, atol=1e-6)
    assert not np.any(found["a"]["bias"]) and not np.any(found["e"]["embedding"])
