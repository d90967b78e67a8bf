"""Kernel Inception distance (KID): an unbiased estimate at any number of images.

Source: Bińkowski et al. (arXiv:1801.01401), §4 and its code: 100 subsets of 1000 images.
"""

import numpy as np
from jaxtyping import Float

from sagan.evaluation.metrics import Metric
from sagan.evaluation.metrics import _bank as bank

NUM_SUBSETS, SUBSET_SIZE, SEED = 100, 1000, 2020  # as in torch-fidelity


def compute(
    fake: bank.State,
    real: bank.State,
    num_subsets: int = NUM_SUBSETS,
    subset_size: int = SUBSET_SIZE,
) -> dict[str, float]:
    """Returns the mean and `sd` of MMD^2 over random subsets; lower is better.

    Values are not scaled by 1000 and may be below 0. The subsets are those that torch-fidelity
    draws (numpy RandomState(2020)), so values agree with it to rounding. Smaller subsets would be
    another, noisier metric, so too few images are an error.

    Raises: ValueError if a side has fewer images than a subset.
    """
    fewest = min(len(fake.features), len(real.features))
    if fewest < subset_size:
        raise ValueError(f"kid draws subsets of {subset_size} images, got {fewest}")
    x, y = bank.ordered(fake).features, bank.ordered(real).features
    generator = np.random.RandomState(SEED)
    values = []
    for _ in range(num_subsets):
        x_subset = x[generator.choice(len(x), subset_size, replace=False)]
        y_subset = y[generator.choice(len(y), subset_size, replace=False)]
        values.append(squared_mmd(x_subset, y_subset))
    return {"": float(np.mean(values)), "sd": float(np.std(values))}


def squared_mmd(x: Float[np.ndarray, "M F"], y: Float[np.ndarray, "M F"]) -> float:
    """Returns the unbiased estimate of MMD^2 under the kernel (x.y / F + 1)^3.

    Products are computed in the precision of the features, sums in float64.

    Source: Bińkowski et al. (arXiv:1801.01401), Eq. 4.
    """
    m, width = x.shape

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        base = (a @ b.T).astype(np.float64) / width + 1
        return base * base * base  # `base**3` is ten times slower

    k_xx, k_yy = kernel(x, x), kernel(y, y)
    within = k_xx.sum() - np.trace(k_xx) + k_yy.sum() - np.trace(k_yy)
    return float(within / (m * (m - 1)) - 2 * kernel(x, y).mean())


METRICS = (
    Metric(
        name="kid",
        output="pool",
        accumulator=bank.BANK,
        compute=compute,
        min_images=SUBSET_SIZE,
        higher_is_better=False,
        uses_real=True,
    ),
)
