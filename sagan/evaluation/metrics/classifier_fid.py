"""Fréchet distance on the features of a classifier of the data at hand; not FID."""

from sagan.evaluation.metrics import _frechet
from sagan.evaluation.metrics._moments import State, init, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "classifier_fid"
OUTPUT = "classifier_pool"
USES_REAL = True
USES_LABELS = False
HIGHER_IS_BETTER = False
MIN_IMAGES = 2


def compute(fake: State, real: State) -> dict[str, float]:
    """Squared distance as in FID, on a small classifier's last hidden layer; lower is better.

    Compares checkpoints under one and the same classifier only; its scale means nothing else.

    Source: TTUR (arXiv:1706.08500), Eq. 6. Deviation: the features are not Inception's.
    """
    return {"": _frechet.of_moments(fake, real)}
