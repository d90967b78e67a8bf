"""Intra-class FID: the FID of each class by itself, averaged over classes."""

import numpy as np

from sagan.evaluation.metrics import _bank, _frechet
from sagan.evaluation.metrics._bank import State, init, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "intra_fid"
OUTPUT = "pool"
USES_REAL = True
USES_LABELS = True
HIGHER_IS_BETTER = False
MIN_IMAGES = 2


def compute(fake: State, real: State) -> dict[str, float]:
    """Mean over classes of the FID between a class's generated and real images; lower is better.

    `worst` is the largest of them. Classes are those of the real side. Much higher than FID where
    classes have few images: compare equal numbers only.

    Raises: ValueError if a class has fewer than 2 images on either side, or images no classes.
    Source: Miyato and Koyama (arXiv:1802.05637), §4.1.
    """
    if min(fake.labels.min(initial=0), real.labels.min(initial=0)) == _bank.NO_LABEL:
        raise ValueError("intra_fid needs images with classes on both sides")
    fake, real = _bank.ordered(fake), _bank.ordered(real)
    if not len(real.labels):
        raise ValueError("intra_fid of no images")
    distances = []
    for label in np.unique(real.labels):
        x, y = fake.features[fake.labels == label], real.features[real.labels == label]
        if min(len(x), len(y)) < 2:
            raise ValueError(
                f"intra_fid needs 2 images a class; class {label}: "
                f"{len(x)} generated, {len(y)} real"
            )
        distances.append(_frechet.of_samples(x, y))
    return {"": float(np.mean(distances)), "worst": float(np.max(distances))}
