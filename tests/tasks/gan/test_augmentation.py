"""Augmentations against PyTorch and loops over pixels, with the same random draws."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import affine_transform

from sagan.tasks.gan import augmentation
from sagan.tasks.gan.augmentation import AUGMENTATIONS, adapted, adaptive_state
from sagan.tasks.gan.colours import colour_map

SIZE = 8
IMAGE = np.random.default_rng(0).uniform(-1, 1, (SIZE, SIZE, 3)).astype(np.float32)


@functools.cache
def compiled(name, p):
    """Returns a compiled augmentation: a function of a key and an image, with probability `p`."""
    return jax.jit(lambda key, image: AUGMENTATIONS[name](key, p, image))


def draws(key, count):
    return np.asarray(jax.random.uniform(key, (count,)), np.float64)


def color_in_torch(torch, x, key):
    _, brightness, saturation, contrast = draws(key, 4)
    x = x + (brightness - 0.5)
    grey = x.mean(2, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    return (x - x.mean()) * (0.5 + contrast) + x.mean()


def translation_in_torch(torch, x, key):
    down, right = (math.floor(3 * u) - 1 for u in draws(key, 3)[1:])  # by -1, 0 or 1 of 8 pixels
    rows, columns = (torch.arange(SIZE) + n for n in (down, right))
    inside = ((rows >= 0) & (rows < SIZE))[:, None] & ((columns >= 0) & (columns < SIZE))[None]
    moved = x[rows.clamp(0, SIZE - 1)][:, columns.clamp(0, SIZE - 1)]
    return moved * inside[..., None]


def cutout_in_torch(torch, x, key):
    top, left = (math.floor(9 * u) - 2 for u in draws(key, 3)[1:])  # a hole of 4 px, from -2 to 6
    mask = torch.ones(SIZE, SIZE, 1)
    mask[max(0, top) : top + 4, max(0, left) : left + 4] = 0
    return x * mask


@pytest.mark.parametrize(
    ("name", "restated"),
    [
        ("color", color_in_torch),
        ("translation", translation_in_torch),
        ("cutout", cutout_in_torch),
    ],
)
def test_diffaugment_agrees_with_torch_in_values_and_gradients(name, restated):
    torch = pytest.importorskip("torch")
    weights = np.random.default_rng(1).normal(size=IMAGE.shape).astype(np.float32)
    changed = 0

    @jax.jit
    def slope_of(key, x):
        return jax.grad(lambda x: (compiled(name, 1.0)(key, x) * weights).sum())(x)

    for number in range(8):
        key = jax.random.key(number)
        x = torch.tensor(IMAGE, requires_grad=True)
        expected = restated(torch, x, key)
        (expected * torch.tensor(weights)).sum().backward()
        ours, slope = compiled(name, 1.0)(key, IMAGE), slope_of(key, IMAGE)
        np.testing.assert_allclose(ours, expected.detach(), atol=2e-6)
        np.testing.assert_allclose(slope, x.grad, atol=2e-6)
        changed += bool(np.abs(ours - IMAGE).max() > 1e-3)
    assert changed >= 6


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_with_probability_0_nothing_changes(name):
    for number in range(4):
        found = compiled(name, 0.0)(jax.random.key(number), IMAGE)
        np.testing.assert_allclose(found, IMAGE, atol=1e-6)


def test_the_geometry_of_ada_agrees_with_scipy():
    """Where pixels come from is drawn by `inverse_map`; SciPy samples there."""
    centre = (SIZE - 1) / 2
    moved = 0

    @jax.jit
    def drawn(key):
        geometry_key, colour_key = jax.random.split(key)
        place = augmentation.inverse_map(geometry_key, 1.0, SIZE, SIZE)
        return place, colour_map(colour_key, 1.0)

    for number in range(6):
        m, from_key = (np.asarray(x, np.float64) for x in drawn(jax.random.key(number)))
        by_rows = m[[1, 0]][:, [1, 0, 2]]  # (x, y) -> (row, column)
        linear = by_rows[:, :2]
        offset = by_rows[:, 2] + centre - linear @ [centre, centre]
        expected = np.stack(
            [
                affine_transform(IMAGE[..., c], linear, offset, order=1, mode="mirror")
                for c in range(3)
            ],
            -1,
        )
        expected = expected @ from_key[:3, :3].T + from_key[:3, 3]
        found = compiled("bgc", 1.0)(jax.random.key(number), IMAGE)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        moved += bool(np.abs(m - np.eye(3)).max() > 0.1)
    assert moved == 6


def test_the_draws_of_ada_have_the_published_distributions():
    keys = jax.random.split(jax.random.key(0), 4000)
    geometry = jax.jit(jax.vmap(lambda k: augmentation.inverse_map(k, 1.0, 64, 64)))(keys)
    geometry = np.asarray(geometry)
    area = np.log2(1 / np.abs(np.linalg.det(geometry[:, :2, :2]))) / 2  # of the isotropic scale
    assert area.mean() == pytest.approx(0, abs=0.015) and area.std() == pytest.approx(0.2, rel=0.05)
    assert np.mean(np.linalg.det(geometry[:, :2, :2]) < 0) == pytest.approx(0.5, abs=0.03)
    colour = np.asarray(jax.jit(jax.vmap(lambda k: colour_map(k, 1.0)))(keys))
    grey = colour[:, :3, :3].sum(2).mean(1)  # of (1, 1, 1): contrast, mirrored or not
    assert np.mean(grey < 0) == pytest.approx(0.5, abs=0.03)
    contrast = np.log2(np.abs(grey))
    assert contrast.std() == pytest.approx(0.5, rel=0.05)
    brightness = colour[:, :3, 3].mean(1) / grey
    assert brightness.std() == pytest.approx(0.2, rel=0.05)
    # The determinant is contrast ^ 3 times saturation ^ 2, mirrored or not.
    saturation = (np.log2(np.abs(np.linalg.det(colour[:, :3, :3]))) - 3 * contrast) / 2
    assert saturation.std() == pytest.approx(1, rel=0.05)


def test_each_image_is_augmented_by_its_own_key():
    names = ("color", "translation", "cutout")
    keys = jax.random.split(jax.random.key(3), 4)
    batch = np.broadcast_to(IMAGE, (4, *IMAGE.shape))
    rows = [AUGMENTATIONS[name] for name in names]
    apply = jax.jit(lambda batch, keys: augmentation.apply(rows, 1.0, batch, keys))
    together, alone = np.asarray(apply(batch, keys)), apply(batch[2:3], keys[2:3])
    np.testing.assert_allclose(together[2:3], alone, atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_the_adaptive_probability_follows_the_signs():
    """ADA: every 4 updates, by batch * 4 / 500,000 towards a mean sign of 0.6."""
    move = 64 * 4 / 500_000
    state = adaptive_state()
    seen = []
    for above in [1.0] * 8 + [0.5] * 4 + [0.0] * 8:  # mean signs 1, 1, 0, -1, -1
        state = adapted(state, jnp.float32(above), 64)
        seen.append(float(state["p"]))
    expected = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(seen, np.array(expected) * move, atol=1e-9)
