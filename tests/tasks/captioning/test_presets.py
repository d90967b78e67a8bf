"""The presets of captioning, and the frozen encoders."""

import dataclasses

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.traced import around_step, kinds

from sagan import tasks
from sagan.config import ConfigError, presets
from sagan.data.pipeline import Batch
from sagan.evaluation.features.fid_inception.network import Inception, layers_of
from sagan.tasks.captioning.encoders import digits, inception, vgg19

NAMES = ["captions", "captions_hard", "flickr8k", "coco_captions"]


@pytest.mark.parametrize("name", NAMES)
def test_a_step_keeps_the_shapes_of_the_state(name):
    config = presets.load(name)
    if config.model.vocabulary_size == "data":
        model = dataclasses.replace(config.model, vocabulary_size=1000, max_words=20)
        config = dataclasses.replace(config, model=model)
    task, model = tasks.build(config), config.model
    image = jax.ShapeDtypeStruct((1, 2, model.image_size, model.image_size, 3), np.float32)
    rows = jax.ShapeDtypeStruct((1, 2, 5, model.max_words + 1), np.int32)
    before, after, scalars = around_step(task, Batch(image, None, {"captions": rows}))
    assert kinds(after) == kinds(before)
    assert set(task.watched) <= set(scalars)
    assert task.activation_bytes(2) > 0


def test_the_digits_encoder_learns_on_windows():
    table = load_digits()
    images = np.round(table.images * (255 / 16)).astype(np.uint8)
    shown, classes = digits.windows(images, table.target, np.random.default_rng(0))
    assert shown.shape == (128, 11, 11, 1) and 0 < shown.max() <= 1
    assert 0.4 < np.mean(classes == 10) < 0.6
    one, again = (digits.train(images, table.target, steps=2) for _ in range(2))
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(x, y)


def test_an_annotation_of_digits_sees_its_own_window_alone():
    params = digits.init(jax.random.key(0), 24)
    image = np.full((1, 24, 24, 3), -1, np.float32)
    changed = image.copy()
    changed[0, 13, 7] = 1  # row 4 of places is centred on px 13, column 2 on px 7
    seen, other = (np.asarray(jax.jit(digits.annotate)(params, x)) for x in (image, changed))
    moved = np.abs(seen - other).max(-1).reshape(8, 8) > 0
    near = np.zeros((8, 8), bool)
    near[3:6, 1:4] = True  # windows reach 5 px from their middle, and places are 3 px apart
    assert moved[4, 2] and not moved[~near].any()


def test_vgg19_equals_its_layers_in_torch(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers, before = [], 3
    for width in (
        64,
        64,
        "pool",
        128,
        128,
        "pool",
        *4 * [256],
        "pool",
        *4 * [512],
        "pool",
        *4 * [512],
    ):
        if width == "pool":
            layers.append(torch.nn.MaxPool2d(2))
        else:
            layers += [torch.nn.Conv2d(before, width, 3, padding=1), torch.nn.ReLU()]
            before = width
    network = torch.nn.Sequential(*layers)
    shown = {f"features.{name}": x for name, x in network.state_dict().items()}
    torch.save(shown, tmp_path / "vgg19.pth")
    params = vgg19.load(str(tmp_path / "vgg19.pth"))
    pixels = np.random.default_rng(0).uniform(0, 1, (1, 32, 32, 3)).astype(np.float32)
    x = (torch.tensor(pixels) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        expected = network(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    found = np.asarray(jax.jit(vgg19.annotate)(params, 2 * pixels - 1))
    np.testing.assert_allclose(found, expected.reshape(1, 4, 512), rtol=1e-3, atol=1e-4)
    with pytest.raises(ConfigError, match="encoder_weights"):
        vgg19.load(None)
    with pytest.raises(ConfigError, match="image_size=30"):
        vgg19.grid(30)


def test_inception_sees_what_fid_sees(tmp_path):
    """The mean over places is the feature of the FID network, which is compared with others'."""
    rng = np.random.default_rng(0)
    layers = {
        layer: {
            "kernel": rng.normal(0, np.prod(x["kernel"].shape[:3]) ** -0.5, x["kernel"].shape),
            "bias": rng.normal(0, 0.1, x["bias"].shape),
        }
        for layer, x in layers_of(("pool_768",)).items()
    }
    file = tmp_path / "weights.npz"
    flat = {f"{layer}/{part}": x for layer, parts in layers.items() for part, x in parts.items()}
    np.savez(file, **flat)
    params = jax.tree.map(jax.numpy.asarray, inception.load(str(file)))
    drawn = jax.eval_shape(lambda key: inception.init(key, 299), jax.random.key(0))
    shapes = jax.tree.map(lambda x: x.shape, (params, drawn))
    assert shapes[0] == shapes[1]
    assert inception.grid(299) == 17 and inception.grid(75) == 3
    pixels = rng.integers(0, 256, (1, 75, 75, 3))
    found = jax.jit(inception.annotate)(params, jax.numpy.float32(pixels / 127.5 - 1))
    assert found.shape == (1, 9, 768) and found.std() > 0.01
    network = Inception(("pool_768",))
    expected = jax.jit(network.apply)({"params": params}, jax.numpy.float32(pixels / 128 - 1))
    np.testing.assert_allclose(found.mean(1), expected["pool_768"], rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="image_size=42"):
        inception.grid(42)
    del flat["conv/kernel"], flat["conv/bias"]
    np.savez(file, **flat)
    with pytest.raises(ConfigError, match="1 layers.*conv"):
        inception.load(str(file))
    with pytest.raises(ConfigError, match="no such file"):
        inception.load(str(tmp_path / "absent.npz"))
