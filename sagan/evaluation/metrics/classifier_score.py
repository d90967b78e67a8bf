"""The Inception Score's formula on a classifier of the data at hand; not an Inception Score."""

from sagan.evaluation.metrics import Spec, _score
from sagan.evaluation.metrics._score import State, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "classifier_score"
OUTPUT = "classifier_logits"
USES_REAL = False
USES_LABELS = False
HIGHER_IS_BETTER = True
MIN_IMAGES = 2


def init(spec: Spec) -> State:
    return _score.init(spec, num_splits=1)


def compute(fake: State, real: State | None = None) -> dict[str, float]:
    """exp E KL(p(y|x) | p(y)) over all images, in [1, number of classes], higher is better.

    Source: Salimans et al. (arXiv:1606.03498), §4. Deviation: p is a small classifier's.
    """
    return _score.compute(fake)
