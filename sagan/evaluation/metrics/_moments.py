"""Accumulates the first two moments of features, in float64."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from sagan.evaluation.metrics import Batch, Spec


class State(NamedTuple):
    """Sums over images; float64, since E[xx^T] - mu mu^T cancels badly in float32."""

    num_images: Int64[np.ndarray, ""]
    total: Float64[np.ndarray, " F"]
    outer: Float64[np.ndarray, "F F"]


def init(spec: Spec) -> State:
    return State(np.zeros((), np.int64), np.zeros(spec.width), np.zeros((spec.width, spec.width)))


def update(state: State, batch: Batch) -> State:
    x = batch.features.astype(np.float64)
    return merge(state, State(np.array(len(x)), x.sum(0), x.T @ x))


def merge(a: State, b: State) -> State:
    return State(*(np.asarray(x + y) for x, y in zip(a, b, strict=True)))


def mean_and_covariance(
    state: State,
) -> tuple[Float64[np.ndarray, " F"], Float64[np.ndarray, "F F"]]:
    """Returns the mean and the unbiased covariance (divisor n - 1).

    Raises: ValueError if fewer than 2 images were seen.
    """
    n = int(state.num_images)
    if n < 2:
        raise ValueError(f"a covariance needs at least 2 images, got {n}")
    mean = state.total / n
    return mean, (state.outer - n * np.outer(mean, mean)) / (n - 1)
