"""Density and coverage on Inception's 2048 features, k = 5."""

import numpy as np

from sagan.evaluation.metrics import _bank, _neighbours
from sagan.evaluation.metrics._bank import State, init, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "dc"
OUTPUT = "pool"
USES_REAL = True
USES_LABELS = False
HIGHER_IS_BETTER = True
K = 5
MIN_IMAGES = K + 1


def compute(fake: State, real: State, k: int = K, closed: bool = False) -> dict[str, float]:
    """How often real images' balls hold generated ones; higher is better.

    A ball reaches to its centre's k-th real neighbour, its surface excluded unless `closed`.
    `density`: number of balls a generated image lies in, over k; 1 if both sides are drawn from
    one distribution, may be above. `coverage`: share of balls that hold a generated image; its
    expectation depends on both sides' sizes, 1 - prod_{t=1..k} (N - t) / (N + M - t).

    Raises: ValueError if the real side has no more than k images.
    Source: Naeem et al. (arXiv:2002.09797), Eq. 3-4, k = 5.
    """
    x, y = _bank.ordered(real).features, _bank.ordered(fake).features
    radii = _neighbours.radii(x, k)
    found = _neighbours.hits(x, y, radii, np.zeros(len(y), np.float32), closed=closed)
    density = float(found.fake_in_real.mean() / k)
    return {"density": density, "coverage": float(found.real_reached.mean())}
