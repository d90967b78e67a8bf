"""Inception Score over a single split, logits without their bias."""

from sagan.evaluation.metrics import Spec, _score
from sagan.evaluation.metrics._score import State, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "is_1split"
OUTPUT = "logits_unbiased"
USES_REAL = False
USES_LABELS = False
HIGHER_IS_BETTER = True
MIN_IMAGES = 2


def init(spec: Spec) -> State:
    return _score.init(spec, num_splits=1)


def compute(fake: State, real: State | None = None) -> dict[str, float]:
    """exp E KL(p(y|x) | p(y)) over all images at once, in [1, 1008], higher is better.

    Slightly above the 10-split score of the same images, whose p(y) are noisier.

    Source: Salimans et al. (arXiv:1606.03498), §4; one split as TF-GAN evaluates.
    """
    return _score.compute(fake)
