"""A feature network, a task and checkpoints that cost nothing, for tests of what surrounds them.

This module is also a plug-in: `eval.features=support.stand_ins` loads `Cheap`.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from sagan.config import DataConfig
from sagan.evaluation.image_scorer import ImageScorer
from sagan.runs import checkpoint, manifest

SIZE = 8
DATA = DataConfig(name="synthetic")
CLASSES = tuple(f"hue{n}" for n in range(4))  # those of data.name=synthetic
HOW_MADE = {"quantisation": "round", "batch_norm": "none", "ema": True}


class Cheap:
    """A feature network: each output is a fixed random projection of the image."""

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


def load(*, weights=None, resizer="tf"):
    return Cheap(resizer)


class NoiseSampler:
    """Draws noise whose mean gets closer to that of the data, about 50, with each step."""

    def __init__(self, step, class_names=CLASSES):
        self.step, self.class_names = step, class_names

    def sample(self, *, labels, indices, seed=0, truncation=None):
        mean = 200 - 5 * self.step
        labels = np.zeros_like(indices) if labels is None else labels
        return np.stack(
            [
                np.random.RandomState([seed, i, label])
                .normal(mean + 5 * label, 20, (SIZE, SIZE, 3))
                .clip(0, 255)
                .astype(np.uint8)
                for i, label in zip(indices, labels, strict=True)
            ]
        )


class NoiseTask:
    """A `ScoredTask` whose checkpoints are empty.

    Attributes:
      loaded: the steps that were loaded to be scored, in order.
    """

    def __init__(self):
        self.loaded = []

    def scorer(self, spec, num_classes=4):
        return ImageScorer(spec, DATA, SIZE, num_classes, HOW_MADE)

    def load_sampler(self, workdir, step, *, ema_sigma=None):
        checkpoint.pick(workdir, step)
        self.loaded.append(step)
        return NoiseSampler(step)


def write_checkpoint(workdir: Path, step: int) -> None:
    """Writes a complete checkpoint with nothing in it."""
    folder = workdir / checkpoint.FOLDER / str(step)
    folder.mkdir(parents=True)
    (folder / manifest.COMMITTED).write_text("{}")
    manifest.write(folder)


def prune(workdir: Path, step: int) -> None:
    shutil.rmtree(workdir / checkpoint.FOLDER / str(step))


def filed(workdir: Path, step: int) -> dict:
    """Reads the scores of a step as any other program would."""
    return json.loads((workdir / "eval" / f"{step}.json").read_text())
