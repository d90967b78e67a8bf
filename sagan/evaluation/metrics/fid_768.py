"""Fréchet distance on the 768 features of Inception's mixed_7: another scale than FID."""

from sagan.evaluation.metrics import _frechet
from sagan.evaluation.metrics._moments import State, init, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "fid_768"
OUTPUT = "pool_768"
USES_REAL = True
USES_LABELS = False
HIGHER_IS_BETTER = False
MIN_IMAGES = 2


def compute(fake: State, real: State) -> dict[str, float]:
    """Squared distance as in FID, on the spatial mean of the layer 768 wide; lower is better.

    Its values are an order of magnitude below FID's and never comparable with them; it needs
    fewer images, since a covariance of 768 features has full rank from 769 on.

    Source: TTUR (arXiv:1706.08500), Eq. 6; the layer is that of pytorch-fid's `dims=768`.
    """
    return {"": _frechet.of_moments(fake, real)}
