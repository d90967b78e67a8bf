"""Precision, recall, density and coverage: two sets of features compared by nearest neighbours.

Distances are computed tile by tile. All distances between 50,000 images would take 10 GB; a tile
takes 16 MB whatever the sizes of the sets. Each tile is a float64 matrix product of features
centred on one origin, so that |a|^2 - 2ab + |b|^2 does not lose digits. It is then rounded to
float32, in which other implementations compare distances.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from sagan.evaluation.metrics import Metric
from sagan.evaluation.metrics import _bank as bank

BLOCK = 2048  # rows and columns of a tile
_NOISE = 1e-12  # a squared distance below this times |a|^2 + |b|^2 counts as 0
_K_PRECISION, _K_DENSITY = 3, 5  # neighbours


class Hits(NamedTuple):
    """Which images lie in which balls; a ball reaches from its centre to the k-th neighbour."""

    fake_in_real: Int64[np.ndarray, " M"]  # number of real balls around each fake image
    real_in_fake: Bool[np.ndarray, " N"]  # whether a fake ball holds the real image
    real_reached: Bool[np.ndarray, " N"]  # whether the real image's own ball holds a fake image


def _blocks(x: np.ndarray, origin: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(x), BLOCK):
        rows = slice(start, min(start + BLOCK, len(x)))
        yield rows, x[rows] - origin  # float64, as the origin is


def _distances(a: Float64[np.ndarray, "A F"], b: Float64[np.ndarray, "B F"]) -> np.ndarray:
    sums = np.einsum("nf,nf->n", a, a)[:, None] + np.einsum("nf,nf->n", b, b)
    squares = a @ b.T
    squares *= -2
    squares += sums
    sums *= _NOISE
    squares[squares < sums] = 0
    return np.sqrt(squares.astype(np.float32))


def radii(x: Float32[np.ndarray, "N F"], k: int) -> Float32[np.ndarray, " N"]:
    """Returns each image's distance to its k-th nearest other image.

    This is the (k + 1)-th smallest distance to all images, itself included, so that exact copies
    count as neighbours.

    Raises: ValueError if there are not more than k images.
    """
    if len(x) <= k:
        raise ValueError(f"{k} neighbours of each image need {k + 1} images, got {len(x)}")
    nearest = np.full((len(x), k + 1), np.inf, np.float32)

    def keep(rows: slice, distances: np.ndarray) -> None:
        candidates = np.concatenate([nearest[rows], distances], axis=1)
        candidates.partition(k, axis=1)
        nearest[rows] = candidates[:, : k + 1]

    origin = x.mean(0, dtype=np.float64)
    for rows, a in _blocks(x, origin):
        for columns, b in _blocks(x[: rows.stop], origin):  # distances are symmetric
            distances = _distances(a, b)
            keep(rows, distances)
            if columns != rows:
                keep(columns, distances.T)
    return nearest.max(axis=1)


def hits(
    real: Float32[np.ndarray, "N F"],
    fake: Float32[np.ndarray, "M F"],
    real_radii: Float32[np.ndarray, " N"],
    fake_radii: Float32[np.ndarray, " M"],
    *,
    closed: bool,
) -> Hits:
    """Compares every real image with every fake one; `closed` balls contain their surface.

    Raises: ValueError if a side is empty.
    """
    if not len(real) or not len(fake):
        raise ValueError(f"no images to compare: {len(real)} real, {len(fake)} generated")
    inside = np.less_equal if closed else np.less
    found = Hits(np.zeros(len(fake), int), np.zeros(len(real), bool), np.zeros(len(real), bool))
    origin = real.mean(0, dtype=np.float64)
    for rows, a in _blocks(real, origin):
        for columns, b in _blocks(fake, origin):
            distances = _distances(a, b)
            in_real = inside(distances, real_radii[rows, None])
            found.fake_in_real[columns] += np.count_nonzero(in_real, axis=0)
            found.real_reached[rows] |= in_real.any(1)
            found.real_in_fake[rows] |= inside(distances, fake_radii[None, columns]).any(1)
    return found


def precision_and_recall(
    fake: bank.State, real: bank.State, k: int = _K_PRECISION
) -> dict[str, float]:
    """Returns `precision` and `recall`, in [0, 1], higher is better.

    `precision` is the fraction of generated images that are no farther from some real image than
    that one's k-th real neighbour; `recall` is the same with the sides exchanged. Both depend on
    how many images each side has.

    Raises: ValueError if a side has no more than k images.
    Source: Kynkäänniemi et al. (arXiv:1904.06991), Eq. 1-2, k = 3. Deviation: features of
      Inception, as in torch-fidelity and guided-diffusion, where the authors took VGG16's.
    """
    x, y = bank.ordered(real).features, bank.ordered(fake).features
    found = hits(x, y, radii(x, k), radii(y, k), closed=True)
    precision = float((found.fake_in_real > 0).mean())
    return {"precision": precision, "recall": float(found.real_in_fake.mean())}


def density_and_coverage(
    fake: bank.State, real: bank.State, k: int = _K_DENSITY, closed: bool = False
) -> dict[str, float]:
    """Returns `density` and `coverage`: how often balls of real images hold generated ones.

    Higher is better. A ball reaches to its centre's k-th real neighbour, its surface excluded
    unless `closed`. `density` is the mean number of balls that a generated image lies in, over k;
    it is 1 if both sides are drawn from one distribution, and may be above. `coverage` is the
    fraction of balls that hold a generated image. Its expectation for equal distributions depends
    on the sizes N (real) and M of both sides: 1 - prod_{t=1..k} (N - t) / (N + M - t).

    Raises: ValueError if there are no more than k real images.
    Source: Naeem et al. (arXiv:2002.09797), Eq. 3-4, k = 5.
    """
    x, y = bank.ordered(real).features, bank.ordered(fake).features
    found = hits(x, y, radii(x, k), np.zeros(len(y), np.float32), closed=closed)
    density = float(found.fake_in_real.mean() / k)
    return {"density": density, "coverage": float(found.real_reached.mean())}


METRICS = (
    Metric(
        name="pr",
        output="pool",
        accumulator=bank.BANK,
        compute=precision_and_recall,
        min_images=_K_PRECISION + 1,
        higher_is_better=True,
        uses_real=True,
    ),
    Metric(
        name="dc",
        output="pool",
        accumulator=bank.BANK,
        compute=density_and_coverage,
        min_images=_K_DENSITY + 1,
        higher_is_better=True,
        uses_real=True,
    ),
)
