"""Inception Score over a single split, logits with their bias: StudioGAN's."""

from sagan.evaluation.metrics import Spec, _score
from sagan.evaluation.metrics._score import State, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "is_1split_biased"
OUTPUT = "logits"
USES_REAL = False
USES_LABELS = False
HIGHER_IS_BETTER = True
MIN_IMAGES = 2


def init(spec: Spec) -> State:
    return _score.init(spec, num_splits=1)


def compute(fake: State, real: State | None = None) -> dict[str, float]:
    """exp E KL(p(y|x) | p(y)) over all images, p from biased logits; higher is better.

    Source: Salimans et al. (arXiv:1606.03498), §4. Deviation: one split and biased logits, as
      PyTorch-StudioGAN computes it.
    """
    return _score.compute(fake)
