"""Where pixels looked, against the weights that NumPy finds."""

import jax
import numpy as np
import pytest
from PIL import Image
from support.plain_transformer import FORMS, SIZE, config, made, numpy_network, order, sees

import sagan
from sagan import cli
from sagan.config import ConfigError
from sagan.models import image_transformer
from sagan.tasks.image_transformer import attention_maps

POINTS = ((0.0, 0.0), (0.3, 0.55), (0.99, 0.99))


def by_pixel(form, weights):
    """Brings weights of one query to the pixels that were read: each position reads the last."""
    found, places = np.zeros((SIZE, SIZE)), order(form)
    block = np.prod(FORMS[form].get("block", SIZE**2)) if form == "local_2d" else SIZE**2
    for position, weight in enumerate(weights):
        if position % block:
            found[places[position - 1]] += weight
    return found


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_those_of_the_network(form):
    found, _, variables, tokens = made(form)
    image = np.asarray(image_transformer.image_of(found, tokens))
    drawn = np.round(255 * (image[None] + 1) / 2).astype(np.uint8)
    got = attention_maps.of_images(found, variables, drawn, np.array([1]), POINTS)
    _, looked = numpy_network(form, found, variables["params"], np.asarray(tokens), 1)
    seen = attention_maps.visible(found, attention_maps.positions(found, POINTS))
    for number, (row, column) in enumerate(POINTS):
        query = order(form).index((int(row * SIZE), int(column * SIZE)))
        near = by_pixel(form, [sees(form, query, key) for key in range(SIZE**2)]) > 0
        np.testing.assert_array_equal(seen[number], near)
        for layer, name in enumerate(got):
            expected = by_pixel(form, looked[layer, query])
            np.testing.assert_allclose(got[name][0, number], expected, atol=1e-5)


@pytest.mark.parametrize("output", ["categorical", "logistics"])
def test_the_channels_of_a_pixel_look_together(output):
    found = config("full", channels=3, levels=8, layers=1, output=output, mixtures=2)
    image = np.random.default_rng(0).integers(0, 8, (1, SIZE, SIZE, 3)).astype(np.uint8) * 36
    network = image_transformer.build(found)
    tokens = image_transformer.tokens_of(found, jax.numpy.asarray(image[0] / 127.5 - 1))
    variables = jax.jit(network.init)(jax.random.key(0), tokens, jax.numpy.int32(0))
    maps = attention_maps.of_images(found, variables, image, np.array([0]), [(0.5, 0.5)])
    own = maps["layers_0"][0, 0]
    drawn_before = np.arange(SIZE**2).reshape(SIZE, SIZE) <= SIZE // 2 * SIZE + SIZE // 2
    assert (own[~drawn_before] == 0).all() and 0.8 < own.sum() < 1
    # Green and blue also look at the red and the green of their own pixel, which a whole pixel
    # that is drawn at once does not.
    assert (own[SIZE // 2, SIZE // 2] > 0) == (output == "categorical")


def test_the_command_draws_a_row_for_each_layer(transformer_run, tmp_path):
    out = tmp_path / "looked.png"
    words = ["sample", str(transformer_run), "--attention", "--num", "2", "--out", str(out)]
    assert cli.main(words) == 0
    with Image.open(out) as sheet:
        assert sheet.size == (4 * 132 + 4, 2 * 132 + 4)
    assert cli.main([*words, "--points", "0.5,0.5", "--temperature", "0.5"]) == 0
    with Image.open(out) as sheet:
        assert sheet.size == (2 * 132 + 4, 2 * 132 + 4)


def test_what_has_no_attention_is_refused(transformer_run):
    transformer = sagan.load(transformer_run)
    for points in ([(0.5, 1.0)], []):
        with pytest.raises(ConfigError, match="points"):
            transformer.attention(labels=[1], indices=[0], points=points)
    with pytest.raises(ConfigError, match="no image"):
        transformer.attention(labels=[], indices=[])
    with pytest.raises(ConfigError, match="truncation"):
        transformer.attention_sheet([1], [0], truncation=0.5)
