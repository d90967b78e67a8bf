"""Compares two sets of features by nearest neighbours, tile by tile.

All distances of 50,000 images from each other would be 10 GB; a tile of them is 16 MB whatever
the sets' sizes. A tile is a float64 matrix product of features centred on one origin, so that
|a|^2 - 2ab + |b|^2 does not cancel, rounded to float32 as the distances that others compare.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

BLOCK = 2048
_NOISE = 1e-12  # of |a|^2 + |b|^2: below it, a squared distance is 0


class Hits(NamedTuple):
    """Who lies in which ball; a ball reaches from its centre to the k-th neighbour."""

    fake_in_real: Int64[np.ndarray, " M"]  # number of real balls around each fake image
    real_in_fake: Bool[np.ndarray, " N"]  # whether a fake ball holds the real image
    real_reached: Bool[np.ndarray, " N"]  # whether the real image's own ball holds a fake one


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

    The (k + 1)-th smallest of all, itself included, so that copies count as neighbours.

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
    """Compares every real with every fake image; `closed` balls contain their surface.

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
