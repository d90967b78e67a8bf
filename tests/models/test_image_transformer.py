"""The Image Transformer's network: what sees what, and the same numbers worked out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.plain_transformer import (
    FORMS,
    SIZE,
    config,
    made,
    numpy_network,
    order,
    sees,
    starts_anew,
)

from sagan.config import ConfigError
from sagan.models import image_transformer
from sagan.models.image_transformer import Config
from sagan.models.layers.causal import Layout


def dependence(form, layers):
    """Returns how much each position's results move with the level of each position."""
    _, network, variables, tokens = made(form, layers=layers, num_classes=None)
    (table,) = variables["params"]["read"].values()
    hidden = jax.random.normal(jax.random.key(2), (SIZE**2,))  # a sum of logits might cancel

    def results(embedding):
        read = {"Embed_0": {"embedding": embedding}}
        return network.apply({"params": variables["params"] | {"read": read}}, tokens) @ hidden

    jacobian = jax.jit(jax.jacrev(results))(table["embedding"])
    return np.abs(np.asarray(jacobian)).sum(2)[:, np.asarray(tokens)[:, 0]]


@pytest.mark.parametrize("form", FORMS)
def test_one_layer_sees_exactly_its_memory(form):
    found = dependence(form, layers=1) > 0
    length = SIZE**2
    for query in range(length):
        read = [
            key - 1
            for key in range(length)
            if sees(form, query, key) and not starts_anew(form, key)
        ]
        assert np.flatnonzero(found[query]).tolist() == sorted(read), query


@pytest.mark.parametrize("form", FORMS)
def test_nothing_depends_on_itself_or_on_what_comes_later(form):
    found = dependence(form, layers=2)
    assert (np.triu(found) == 0).all()
    assert (found.sum(1)[1:] > 0).sum() > SIZE**2 // 2


def test_receptive_field_of_the_published_scheme():
    layout = Layout("local_1d", 4, 32, (16,), (16,))
    seen = np.asarray(layout.seen()).sum(-1).ravel()
    positions = np.arange(128)
    expected = np.where(positions < 16, 0, 16) + positions % 16 + 1
    np.testing.assert_array_equal(seen, expected)


def test_memory_of_the_published_rectangles():
    layout = Layout("local_2d", 32, 96, (16, 16), (16, 32))
    assert layout.times.shape == (2 * 6, (16 + 16) * (16 + 2 * 32))
    inner = np.asarray(layout.seen())[7]  # of the second row of blocks
    assert inner[-1].sum() == 16 * (32 + 16 + 32) - 16 * 16 + 16 * 16 + 16 * 16


def test_order_and_back():
    layout = Layout("local_2d", SIZE, SIZE, *(FORMS["local_2d"][k] for k in ("block", "memory")))
    raster = jnp.arange(SIZE**2)
    flat = [r * SIZE + c for r, c in order("local_2d")]
    np.testing.assert_array_equal(layout.to_order(raster), flat)
    np.testing.assert_array_equal(layout.to_raster(layout.to_order(raster)), raster)


@pytest.mark.parametrize("form", FORMS)
def test_the_network_is_the_one_described(form):
    found, network, variables, tokens = made(form)
    got = jax.jit(network.apply)(variables, tokens, jnp.int32(1))
    assert got.shape == (SIZE**2, found.levels) and got.dtype == jnp.float32
    expected, _ = numpy_network(form, found, variables["params"], np.asarray(tokens), 1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)


def test_bfloat16_is_close_and_keeps_its_parameters():
    found, _, variables, tokens = made("local_1d")
    half = image_transformer.build(config("local_1d", dtype="bfloat16"))
    results = jax.jit(half.apply)(variables, tokens, jnp.int32(1))
    expected, _ = numpy_network("local_1d", found, variables["params"], np.asarray(tokens), 1)
    assert results.dtype == jnp.float32 and not np.allclose(results, expected, atol=1e-3)
    np.testing.assert_allclose(results, expected, atol=0.1)


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("full", {}),
        ("local_1d", {"channels": 3, "levels": 8, "layers": 1, "positions": "learned"}),
        ("local_2d", {"channels": 3, "layers": 1, "output": "logistics", "mixtures": 2}),
        ("local_1d", {"layers": 1, "low_resolution": 4, "encoder_layers": 1}),
        ("local_1d", {"layers": 1, "block": (80,)}),  # a single block, which has memory around it
        ("local_2d", {"layers": 1, "block": (8, 8)}),
    ],
)
def test_one_position_at_a_time_gives_the_same(form, fields):
    found = config(form, **fields)
    network = image_transformer.build(found)
    image = jax.random.uniform(jax.random.key(0), (SIZE, SIZE, 3), minval=-1, maxval=1)
    tokens = image_transformer.tokens_of(found, image)
    small = image_transformer.small_of(found, image) if found.low_resolution else None
    label = jnp.int32(2)

    @jax.jit
    def run(key):
        whole, variables = network.init_with_output(key, tokens, label, small)
        given = network.apply(variables, label, small, method="given")
        cache = network.apply(variables, method="empty_cache")

        def step(carry, time):
            cache, before = carry
            out, cache = network.apply(variables, before, time, cache, given, method="step")
            return (cache, tokens[time][None]), out

        start = cache, jnp.zeros_like(tokens[:1])
        return whole, jax.lax.scan(step, start, jnp.arange(len(tokens)))[1]

    whole, stepped = run(jax.random.key(1))
    np.testing.assert_allclose(stepped, whole, atol=2e-5)


def test_levels_of_an_image_and_back():
    found = config("local_2d", channels=3, levels=256)
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.float32)
    tokens = image_transformer.tokens_of(found, jnp.asarray(image * (2 / 255) - 1))
    assert tokens.shape == (SIZE * SIZE * 3, 1)
    first = image[:4, :].reshape(4, SIZE * 3)[:, :2].ravel()  # the first block: four rows, two wide
    np.testing.assert_array_equal(tokens[:8, 0], first)
    back = (np.asarray(image_transformer.image_of(found, tokens)) + 1) * (255 / 2)
    np.testing.assert_allclose(back, image, atol=1e-3)


def test_small_copies_are_means():
    found = config("full", low_resolution=2, levels=256)
    image = jnp.repeat(jnp.linspace(-1, 1, SIZE)[:, None, None], SIZE, 1).repeat(3, 2)
    small = np.asarray(image_transformer.small_of(found, image))[:, 0]
    means = (np.asarray(image)[:, 0, 0].reshape(2, 4).mean(1) + 1) * 127.5
    np.testing.assert_array_equal(small, np.round(means).repeat(2))


def test_number_of_parameters():
    found = Config(image_size=32, num_classes=None)  # the categorical one of the authors' code
    network = image_transformer.build(found)
    tokens = jax.ShapeDtypeStruct((32 * 32 * 3, 1), "int32")
    shapes = jax.eval_shape(lambda t: network.init(jax.random.key(0), t), tokens)
    layer = 4 * 512**2 + 2 * 512 * 2048 + 2048 + 512 + 2 * 2 * 512
    expected = 768 * 512 + 12 * layer + 512 * 256 + 256
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"channels": 2}, ["model.channels=2", "1, 3"]),
        ({"heads": 3}, ["model.heads=3", "8"]),
        ({"features": 6, "heads": 2}, ["model.features=6", "4"]),
        ({"low_resolution": 3}, ["model.low_resolution=3", "8"]),
        ({"attention": "local_1d", "block": (4, 4)}, ["model.block=4,4", "local_1d"]),
        ({"attention": "local_2d", "block": (4, 4), "memory": (1,)}, ["model.memory=1"]),
        ({"attention": "local_2d", "block": (3, 4), "memory": (1, 1)}, ["3,4", "8 x 8"]),
    ],
)
def test_settings_that_do_not_fit(fields, facts):
    with pytest.raises(ConfigError) as error:
        config("full", **fields)
    assert all(fact in str(error.value) for fact in facts)
