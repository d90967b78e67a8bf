"""Latents between two latents, and weights of classes between two classes."""

import numpy as np
from jaxtyping import Float


def slerp(
    begin: Float[np.ndarray, " Z"], end: Float[np.ndarray, " Z"], t: float
) -> Float[np.ndarray, " Z"]:
    """Goes from `begin` (t = 0) to `end` (t = 1) along a great circle; lengths are interpolated.

    Source: Shoemake 1985; for latents of GANs, White (arXiv:1609.04468).
    """
    norms = np.linalg.norm(begin), np.linalg.norm(end)
    angle = np.arccos(np.clip(np.dot(begin, end) / (norms[0] * norms[1]), -1, 1))
    if np.sin(angle) < 1e-6:
        return (1 - t) * begin + t * end
    a, b = np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)
    length = (1 - t) * norms[0] + t * norms[1]
    return (length * (a * begin / norms[0] + b * end / norms[1])).astype(begin.dtype)


def class_weights(
    begin: int, end: int, fractions: Float[np.ndarray, " T"], num_classes: int
) -> Float[np.ndarray, "T K"]:
    """Returns weights of classes: all of `begin` at fraction 0, all of `end` at fraction 1."""
    weights = np.zeros((len(fractions), num_classes), np.float32)
    weights[:, begin] += 1 - fractions
    weights[:, end] += fractions
    return weights
