"""CIFAR-10 as read here, looked at by a published classifier; needs SAGAN_TEST_DATA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan import image_sets
from sagan.config import DataConfig
from sagan.metrics import Batch, Spec, class_accuracy

MEAN = np.array([[[[0.485, 0.456, 0.406]]]])
SPREAD = np.array([[[[0.229, 0.224, 0.225]]]])
NUM_IMAGES = 512


def resnet56(weights, images):
    """ResNet-56 of He et al. (arXiv:1512.03385, section 4.2), shortcuts without weights."""

    def convolve(x, name, stride=1):
        kernel = weights[f"{name}.weight"]
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(1, 1), (1, 1)],
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
        )

    def normalise(x, name):
        names = ("weight", "bias", "running_mean", "running_var")
        scale, bias, mean, var = (weights[f"{name}.{n}"][None, None, None] for n in names)
        return (x - mean) * scale / jnp.sqrt(var + 1e-5) + bias

    x = jnp.asarray((images / 255 - MEAN) / SPREAD, jnp.float32)
    x = jax.nn.relu(normalise(convolve(x, "conv1"), "bn1"))
    for layer in (1, 2, 3):
        for block in range(9):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = jax.nn.relu(normalise(convolve(x, f"{name}.conv1", stride), f"{name}.bn1"))
            y = normalise(convolve(y, f"{name}.conv2"), f"{name}.bn2")
            if stride == 2:
                more = y.shape[-1] - x.shape[-1]
                x = jnp.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(more // 2, more // 2)])
            x = jax.nn.relu(x + y)
    return x.mean((1, 2)) @ weights["linear.weight"].T + weights["linear.bias"][None]


def test_a_published_classifier_recognises_the_test_images(test_data):
    """Its authors state an error of 6.4 %; wrong channels, order or labels would be far off."""
    from sagan import data

    config = DataConfig(name="tfds/cifar10", dir=str(test_data / "tfds"), split="test")
    source = image_sets.FromSource(data.load(config, 32), 32, "cifar10:test")
    images, labels = source.part(NUM_IMAGES).read(np.arange(NUM_IMAGES))
    with np.load(test_data / "resnet56_cifar10.npz", allow_pickle=False) as file:
        weights = dict(file)
    run = jax.jit(lambda x: resnet56(weights, x))
    logits = np.concatenate([run(images[i : i + 64]) for i in range(0, NUM_IMAGES, 64)])
    state = class_accuracy.init(Spec(10, NUM_IMAGES, 10))
    state = class_accuracy.update(state, Batch(logits, np.arange(NUM_IMAGES), labels))
    accuracy = class_accuracy.compute(state)[""]
    assert accuracy == pytest.approx(1 - 0.064, abs=0.03)
