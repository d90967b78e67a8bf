"""Kernel Inception distance: unbiased at any number of images."""

import numpy as np
from jaxtyping import Float

from sagan.evaluation.metrics import _bank
from sagan.evaluation.metrics._bank import State, init, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "kid"
OUTPUT = "pool"
USES_REAL = True
USES_LABELS = False
HIGHER_IS_BETTER = False
NUM_SUBSETS, SUBSET_SIZE, SEED = 100, 1000, 2020  # torch-fidelity's
MIN_IMAGES = SUBSET_SIZE


def compute(fake: State, real: State) -> dict[str, float]:
    """Mean and `sd` of MMD^2 over random subsets; not scaled by 1000; may be below 0.

    Lower is better. The same subsets are drawn as torch-fidelity draws (numpy RandomState(2020)),
    so values agree to rounding. Smaller subsets would be another, noisier metric: never silently.

    Raises: ValueError if a side has fewer images than a subset.
    Source: Bińkowski et al. (arXiv:1801.01401), §4 and its code: 100 subsets of 1000.
    """
    fewest = min(len(fake.features), len(real.features))
    if fewest < SUBSET_SIZE:
        raise ValueError(f"kid draws subsets of {SUBSET_SIZE} images, got {fewest}")
    x, y = _bank.ordered(fake).features, _bank.ordered(real).features
    generator = np.random.RandomState(SEED)
    values = []
    for _ in range(NUM_SUBSETS):
        x_subset = x[generator.choice(len(x), SUBSET_SIZE, replace=False)]
        y_subset = y[generator.choice(len(y), SUBSET_SIZE, replace=False)]
        values.append(squared_mmd(x_subset, y_subset))
    return {"": float(np.mean(values)), "sd": float(np.std(values))}


def squared_mmd(x: Float[np.ndarray, "M F"], y: Float[np.ndarray, "M F"]) -> float:
    """Unbiased estimate of MMD^2 under the kernel (x.y / F + 1)^3.

    The products are taken in the features' precision, the sums in float64.

    Source: Bińkowski et al. (arXiv:1801.01401), Eq. 4.
    """
    m, width = x.shape

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        base = (a @ b.T).astype(np.float64) / width + 1
        return base * base * base  # a power of 3 is ten times slower

    k_xx, k_yy = kernel(x, x), kernel(y, y)
    within = k_xx.sum() - np.trace(k_xx) + k_yy.sum() - np.trace(k_yy)
    return float(within / (m * (m - 1)) - 2 * kernel(x, y).mean())
