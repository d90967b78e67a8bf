"""Spatial FID: Fréchet distance on the first 7 channels of mixed_6's convolution map."""

from sagan.evaluation.metrics import _frechet
from sagan.evaluation.metrics._moments import State, init, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "sfid"
OUTPUT = "spatial"
USES_REAL = True
USES_LABELS = False
HIGHER_IS_BETTER = False
MIN_IMAGES = 2


def compute(fake: State, real: State) -> dict[str, float]:
    """Squared distance as in FID, on 17 x 17 x 7 = 2023 features that keep positions.

    Lower is better; sensitive to layout where FID is not.

    Source: Nash et al. (arXiv:2103.03841), §4.3; channels and layer as in guided-diffusion.
    """
    return {"": _frechet.of_moments(fake, real)}
