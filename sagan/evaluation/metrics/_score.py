"""Accumulates what exp(mutual information of image and predicted class) needs, split by split."""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from sagan.evaluation.metrics import Batch, Spec

SHUFFLE_SEED = 2020  # torch-fidelity's


class State(NamedTuple):
    """Sums of the S splits over predictions of K classes; float64."""

    num_images: Int64[np.ndarray, ""]  # of the whole set, which fixes who is in which split
    seen: Int64[np.ndarray, " S"]
    negative_entropy: Float64[np.ndarray, " S"]  # sum of sum_k p log p
    probability: Float64[np.ndarray, "S K"]


@functools.lru_cache(maxsize=4)
def _split_of(num_images: int, num_splits: int) -> np.ndarray:
    """Which split each position falls in once the set is shuffled and cut into equal parts."""
    order = np.random.RandomState(SHUFFLE_SEED).permutation(num_images)
    bounds = np.arange(1, num_splits + 1) * num_images // num_splits
    split = np.empty(num_images, np.int64)
    split[order] = np.searchsorted(bounds, np.arange(num_images), side="right")
    return split


def init(spec: Spec, num_splits: int) -> State:
    if spec.num_images < num_splits:
        raise ValueError(f"{num_splits} splits need as many images, got {spec.num_images}")
    zeros = np.zeros((num_splits, spec.width))
    return State(
        np.array(spec.num_images), np.zeros(num_splits, np.int64), zeros[:, 0].copy(), zeros
    )


def update(state: State, batch: Batch) -> State:
    logits = batch.features.astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    p = np.exp(log_p)
    num_splits = len(state.seen)
    split = _split_of(int(state.num_images), num_splits)[batch.indices]
    member = (split[:, None] == np.arange(num_splits)).astype(np.float64)  # (B, S)
    return State(
        state.num_images,
        state.seen + np.bincount(split, minlength=num_splits),
        state.negative_entropy + member.T @ (p * log_p).sum(1),
        state.probability + member.T @ p,
    )


def merge(a: State, b: State) -> State:
    if a.num_images != b.num_images:
        raise ValueError(f"parts of different sets: {a.num_images} and {b.num_images} images")
    return State(a.num_images, *(x + y for x, y in zip(a[1:], b[1:], strict=True)))


def compute(state: State) -> dict[str, float]:
    """Returns mean and standard deviation (divisor S) of the splits' scores, in [1, K].

    Raises: ValueError if not exactly every image was seen.
    """
    if state.seen.sum() != state.num_images:
        raise ValueError(f"saw {state.seen.sum()} of {state.num_images} images")
    mean = state.probability / state.seen[:, None]
    # 0 log 0 = 0: a class that no image of the split has adds nothing.
    log_mean = np.log(mean, where=mean > 0, out=np.zeros_like(mean))
    scores = np.exp(state.negative_entropy / state.seen - (mean * log_mean).sum(1))
    if len(scores) == 1:
        return {"": float(scores[0])}
    return {"": float(scores.mean()), "sd": float(scores.std())}
