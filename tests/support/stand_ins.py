"""A fast network and a fast sampler, for tests of the code around them."""

import json
from pathlib import Path

import numpy as np

SIZE = 8


class Cheap:
    """Replaces a network: each output is a fixed random projection of the image."""

    name = "cheap"
    widths = {"pool": 6, "logits_unbiased": 6, "pool_768": 4}
    missing = {"spatial": "these weights lack a layer"}

    def __init__(self, resizer="tf"):
        self.fingerprint = {"features": "cheap", "weights_sha256": "00", "resizer": resizer}
        self.num_images = 0

    def __call__(self, images, outputs):
        self.num_images += len(images)
        x = images.reshape(len(images), -1).astype(np.float32) / 64
        return {name: x @ self._weights(name, x.shape[1]) for name in outputs}

    def _weights(self, name, size):
        random = np.random.RandomState(sum(name.encode()))
        return random.randn(size, self.widths[name]).astype(np.float32) / 4


class FakeSampler:
    """Draws noise whose mean gets closer to the data's, about 50, with each step."""

    def __init__(self, config, step):
        self.config, self.step = config, step
        self.class_names = tuple(f"hue{n}" for n in range(4))  # as data.name=synthetic has

    def __call__(self, labels, indices, *, seed=0, truncation=None):
        mean = 200 - 5 * self.step
        return np.stack(
            [
                np.random.RandomState([seed, i, label])
                .normal(mean + 5 * label, 20, (SIZE, SIZE, 3))
                .clip(0, 255)
                .astype(np.uint8)
                for i, label in zip(indices, labels, strict=True)
            ]
        )


def filed(workdir: Path, step: int) -> dict:
    """Reads the scores of a step from its file."""
    return json.loads((workdir / "eval" / f"{step}.json").read_text())
