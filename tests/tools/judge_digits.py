"""Judges samples of a run on the digits: are they readable, diverse, and not copies?

Run: python tests/tools/judge_digits.py WORKDIR [--step N]

A support vector machine, fitted on the real digits, classifies 100 samples of each class. The
mean distance between samples of a class is divided by that of real images of the class. The
distance to the nearest training image is compared with that of real test images: for copies it
would be much smaller.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances
from sklearn.svm import SVC

import sagan

PER_CLASS = 100


def judge(workdir: Path, step: int | None) -> dict[str, float]:
    digits = load_digits()
    real, labels = digits.data, digits.target
    train = np.arange(len(labels)) % 5 != 0  # the split that training sees
    machine = SVC(gamma=0.001, C=10).fit(real, labels)
    source = sagan.load(workdir, "latest" if step is None else step)
    wanted = np.repeat(np.arange(10), PER_CLASS)
    drawn = source.sample(labels=wanted, indices=np.tile(np.arange(PER_CLASS), 10))
    fake = np.stack([_eight(image) for image in drawn]).reshape(len(drawn), -1)

    def spread(images: np.ndarray) -> float:
        n = len(images)
        return pairwise_distances(images).sum() / (n * (n - 1))

    def nearest(images: np.ndarray) -> float:
        return pairwise_distances(images, real[train]).min(1).mean()

    ratios = [spread(fake[wanted == c]) / spread(real[labels == c]) for c in range(10)]
    return {
        "step": source.step,
        "read_as_asked": float((machine.predict(fake) == wanted).mean()),
        "spread_to_real": float(np.mean(ratios)),
        "least_spread_to_real": float(np.min(ratios)),
        "nearest_training_image": nearest(fake),
        "nearest_training_image_of_real_test": nearest(real[~train]),
    }


def _eight(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image[..., 0]).resize((8, 8), Image.Resampling.BOX)
    return np.asarray(small, np.float64) * (16 / 255)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--step", type=int)
    parser.add_argument("--min-accuracy", type=float, default=0.95)
    parser.add_argument("--min-diversity", type=float, default=0.7)
    args = parser.parse_args()
    found = judge(args.workdir, args.step)
    for name, value in found.items():
        print(f"{name:36} {value:.4g}")
    good = found["read_as_asked"] >= args.min_accuracy
    return 0 if good and found["spread_to_real"] >= args.min_diversity else 1


if __name__ == "__main__":
    sys.exit(main())
