"""Estimates of the largest singular value of a matrix W (out, in), as sources and we make them."""

import numpy as np

_SMALL = 1e-12
_BISECTIONS = 60


def sigma_of(matrix: np.ndarray, u: np.ndarray) -> float:
    """Estimates a matrix's largest singular value by one power iteration.

    Args:
      u: the vector (out,) that the iteration starts from.
    """
    return _norm(matrix @ _unit(matrix.T @ u))


def converged_u(kernel: np.ndarray, iterations: int = 100) -> np.ndarray:
    """Returns the left singular vector (out,) of a kernel (..., out), by many power iterations."""
    matrix = kernel.reshape(-1, kernel.shape[-1]).T
    u = _unit(np.ones(len(matrix), np.float32))
    for _ in range(iterations):
        u = _unit(matrix @ _unit(matrix.T @ u))
    return u


def turned_u(matrix: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Returns a start vector (C,) for which our estimate of sigma equals the source's.

    Both projects estimate the largest singular value of W (K, C) by one power iteration, but start
    on opposite sides of the matrix. The source starts from u (K,) and estimates |W a|, where
    a = W' u / |W' u|. We start from a vector b (C,) and estimate |W' c|, where c = W b / |W b|.
    With b = a our estimate is half an iteration ahead, so it is too large. With b equal to the
    smallest singular vector it is too small. In between, bisection finds a b for which both agree.
    """
    better = _unit(matrix.T @ u)
    sigma = _norm(matrix @ better)

    def ours(b: np.ndarray) -> float:
        return _norm(matrix.T @ _unit(matrix @ b))

    worse = np.linalg.svd(matrix, full_matrices=False)[2][-1]  # ends at the smallest number
    if ours(better) <= sigma or ours(worse) >= sigma:
        return better
    low, high = 0.0, 1.0  # parts of `better`
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        mixed = _unit(np.float32(1 - middle) * worse + np.float32(middle) * better)
        low, high = (middle, high) if ours(mixed) < sigma else (low, middle)
    return _unit(np.float32(1 - high) * worse + np.float32(high) * better)


def _norm(x: np.ndarray) -> float:
    return float(np.linalg.norm(x))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.float32(_norm(x) + _SMALL)
