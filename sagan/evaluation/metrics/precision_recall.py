"""Improved precision and recall on Inception's 2048 features, k = 3."""

from sagan.evaluation.metrics import _bank, _neighbours
from sagan.evaluation.metrics._bank import State, init, merge, update

__all__ = ["compute", "init", "merge", "update"]

NAME = "pr"
OUTPUT = "pool"
USES_REAL = True
USES_LABELS = False
HIGHER_IS_BETTER = True
K = 3
MIN_IMAGES = K + 1


def compute(fake: State, real: State, k: int = K) -> dict[str, float]:
    """Shares in [0, 1], higher is better, of images that lie within the other set's manifold.

    `precision`: generated images no farther from some real one than its k-th real neighbour;
    `recall`: the same with the sides exchanged. Both depend on how many images each side has.

    Raises: ValueError if a side has no more than k images.
    Source: Kynkäänniemi et al. (arXiv:1904.06991), Eq. 1-2, k = 3. Deviation: features of
      Inception, as torch-fidelity and guided-diffusion take, where the authors took VGG16's.
    """
    x, y = _bank.ordered(real).features, _bank.ordered(fake).features
    x_radii, y_radii = _neighbours.radii(x, k), _neighbours.radii(y, k)
    found = _neighbours.hits(x, y, x_radii, y_radii, closed=True)
    precision = float((found.fake_in_real > 0).mean())
    return {"precision": precision, "recall": float(found.real_in_fake.mean())}
