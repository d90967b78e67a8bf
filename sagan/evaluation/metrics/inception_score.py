"""Inception Score: 10 splits, 1008 classes, logits without their bias."""

from sagan.evaluation.metrics import Spec, _score
from sagan.evaluation.metrics._score import State, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "is"
OUTPUT = "logits_unbiased"
USES_REAL = False
USES_LABELS = False
HIGHER_IS_BETTER = True
MIN_IMAGES = 10


def init(spec: Spec) -> State:
    return _score.init(spec, num_splits=10)


def compute(fake: State, real: State | None = None) -> dict[str, float]:
    """exp E KL(p(y|x) | p(y)): mean and `sd` over 10 splits, in [1, 1008], higher is better.

    The set is shuffled (numpy RandomState(2020), as torch-fidelity does) before it is split,
    so a list ordered by class loses nothing. The sd has divisor 10.

    Source: Salimans et al. (arXiv:1606.03498), §4. The bias of the logits is left out as in
      the authors' code, which every comparable number carries.
    """
    return _score.compute(fake)
