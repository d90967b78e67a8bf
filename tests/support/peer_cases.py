"""Inputs that are computed with numpy alone, and the same on every machine.

`tests/tools/make_peer_goldens.py` gives them to independent implementations and stores the
answers; ordinary tests give them to ours.
"""

import numpy as np

RESIZED = [(32, 32), (48, 20), (512, 400)]  # height and width, px
KID = {"num_subsets": 20, "subset_size": 200}


def images(number, height, width, seed=0):
    """Draws images that differ in brightness, contrast, colours and scale: uint8 NHWC."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    out = np.empty((number, height, width, 3))
    for i in range(number):
        pitch, turn, phase = rng.uniform(2, 16), rng.uniform(0, np.pi), rng.uniform(0, 6.3, 3)
        wave = (np.cos(turn) * rows + np.sin(turn) * columns)[..., None] * 2 * np.pi / pitch
        noise = rng.normal(size=(height, width, 3)) * rng.uniform(0, 40)
        out[i] = rng.uniform(30, 220, 3) + rng.uniform(10, 100) * np.sin(wave + phase) + noise
    return np.clip(out, 0, 255).astype(np.uint8)


def inception_layers(shapes):
    """Draws He's kernels and small biases for layers of these shapes."""
    layers = {}
    for number, name in enumerate(sorted(shapes)):
        rng = np.random.default_rng([1, number])
        shape = shapes[name]["kernel"].shape
        deviation = np.sqrt((2 if len(shape) == 4 else 1) / np.prod(shape[:-1]))
        kernel = rng.normal(0, deviation, shape).astype(np.float32)
        bias = rng.uniform(-0.1, 0.1, shape[-1]).astype(np.float32)
        layers[name] = {"kernel": kernel, "bias": bias}
    return layers


def features(side, number=500, width=256):
    """Draws features like Inception's: not negative, correlated, of different variances.

    Those of `fake` vary by 5 % more than those of `real`, so no score has an extreme value.
    """
    seed, scale = {"fake": (0, 1.05), "real": (1, 1.0)}[side]
    random = np.random.RandomState(seed)
    mix = np.random.RandomState(9).randn(width, width) * np.geomspace(1, 0.3, width)[:, None]
    noise = random.randn(number, width) @ (mix * scale)
    return np.maximum(noise / 4 + 0.4, 0).astype(np.float32)


def logits(number=500, classes=1008):
    """Draws predictions that are ordered by class, so a score depends on the shuffle."""
    values = np.random.RandomState(0).randn(number, classes) * 2
    values[np.arange(number), np.arange(number) * 10 // number] += 12
    return values.astype(np.float32)


def sampled(values):
    """Returns every 61st value of each row: enough to compare, and small to store."""
    return np.asarray(values, np.float32).reshape(len(values), -1)[:, ::61]
