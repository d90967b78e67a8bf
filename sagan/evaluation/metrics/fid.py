"""Fréchet Inception distance on the 2048 features before the classifier: the usual FID."""

from sagan.evaluation.metrics import _frechet
from sagan.evaluation.metrics._moments import State, init, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "fid"
OUTPUT = "pool"
USES_REAL = True
USES_LABELS = False
HIGHER_IS_BETTER = False
MIN_IMAGES = 2


def compute(fake: State, real: State) -> dict[str, float]:
    """Squared distance of two Gaussians fitted to features, >= 0, lower is better.

    |mu_f - mu_r|^2 + Tr(C_f + C_r - 2 (C_f C_r)^(1/2)). Biased upwards for few images: compare
    only equal numbers of them.

    Raises: ValueError if either side has seen fewer than 2 images.
    Source: TTUR (arXiv:1706.08500), Eq. 6.
    """
    return {"": _frechet.of_moments(fake, real)}
