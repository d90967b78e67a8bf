"""Computes the distance of two Gaussians, from their moments or from centred samples."""

import numpy as np
from jaxtyping import Float, Float64

from sagan.evaluation.metrics import _moments


def trace_root(a: Float64[np.ndarray, "F F"], b: Float64[np.ndarray, "F F"], *, rank: int) -> float:
    """Returns Tr (ab)^(1/2) of two covariances, of which one has at most this rank.

    (ab)^(1/2) has the eigenvalues of (r b r)^(1/2) with r = a^(1/2), which is symmetric: two
    symmetric eigenproblems, 10 times faster at 2048 features than a Schur square root, and no
    imaginary part to discard. Past the rank every eigenvalue is rounding, whose root would show.
    """
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.maximum(values, 0))  # r up to a rotation
    inner = root.T @ b @ root
    squares = np.linalg.eigvalsh((inner + inner.T) / 2)  # ascending
    return float(np.sqrt(np.maximum(squares[max(len(squares) - rank, 0) :], 0)).sum())


def of_moments(fake: _moments.State, real: _moments.State) -> float:
    """Returns the squared Fréchet distance; each side needs at least 2 images.

    Source: TTUR (arXiv:1706.08500), Eq. 6; covariances with divisor n - 1 as in its code.
    """
    mean_f, cov_f = _moments.mean_and_covariance(fake)
    mean_r, cov_r = _moments.mean_and_covariance(real)
    if mean_f.shape != mean_r.shape:
        raise ValueError(f"feature widths differ: {len(mean_f)} and {len(mean_r)}")
    rank = int(min(fake.num_images, real.num_images)) - 1
    shift = float(np.sum((mean_f - mean_r) ** 2))
    root = trace_root(cov_f, cov_r, rank=rank)
    return shift + float(np.trace(cov_f) + np.trace(cov_r)) - 2 * root


def of_samples(fake: Float[np.ndarray, "M F"], real: Float[np.ndarray, "N F"]) -> float:
    """Returns the same from the features themselves; cheap where images are fewer than features.

    With centred samples X, Y as rows, Tr (cov X cov Y)^(1/2) is the nuclear norm of X Y^T over
    ((M - 1)(N - 1))^(1/2): a problem of size M x N instead of F x F, exact at any rank.

    Raises: ValueError if a side has fewer than 2 images.
    """
    if min(len(fake), len(real)) < 2:
        raise ValueError(f"a covariance needs 2 images a side, got {len(fake)} and {len(real)}")
    x, y = fake.astype(np.float64), real.astype(np.float64)
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = (x - mean_x) / np.sqrt(len(x) - 1), (y - mean_y) / np.sqrt(len(y) - 1)
    shift = float(np.sum((mean_x - mean_y) ** 2))
    if min(len(x), len(y)) < x.shape[1]:
        root = float(np.linalg.svd(x @ y.T, compute_uv=False).sum())
    else:
        root = trace_root(x.T @ x, y.T @ y, rank=x.shape[1])
    return shift + float(np.sum(x**2) + np.sum(y**2)) - 2 * root
