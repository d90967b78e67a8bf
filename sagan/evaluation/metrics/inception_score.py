"""Inception Scores: exp E KL(p(y|x) | p(y)) of a classifier's predictions; higher is better.

Values lie in [1, number of classes]. With several splits, the score is the mean over splits and
`sd` is the standard deviation (divisor: number of splits). The images are shuffled as
torch-fidelity does (numpy RandomState(2020)) before they are split, so their order plays no role.

Source: Salimans et al. (arXiv:1606.03498), §4.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from sagan.evaluation.metrics import Accumulator, Batch, Metric, Spec

SHUFFLE_SEED = 2020  # as in torch-fidelity


class State(NamedTuple):
    """Sums of the S splits over predictions of K classes; float64."""

    num_images: Int64[np.ndarray, ""]  # of the whole set; it determines which split an image is in
    seen: Int64[np.ndarray, " S"]
    negative_entropy: Float64[np.ndarray, " S"]  # sum of sum_k p log p
    probability: Float64[np.ndarray, "S K"]


@functools.lru_cache(maxsize=4)
def _split_of(num_images: int, num_splits: int) -> np.ndarray:
    """Returns the split of each position: the set is shuffled, and cut into equal parts."""
    order = np.random.RandomState(SHUFFLE_SEED).permutation(num_images)
    bounds = np.arange(1, num_splits + 1) * num_images // num_splits
    split = np.empty(num_images, np.int64)
    split[order] = np.searchsorted(bounds, np.arange(num_images), side="right")
    return split


def _init(num_splits: int, spec: Spec) -> State:
    """Raises: ValueError if there are fewer images than splits."""
    if spec.num_images < num_splits:
        raise ValueError(f"{num_splits} splits need as many images, got {spec.num_images}")
    zeros = np.zeros((num_splits, spec.width))
    return State(
        np.array(spec.num_images), np.zeros(num_splits, np.int64), zeros[:, 0].copy(), zeros
    )


def _update(state: State, batch: Batch) -> State:
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


def _merge(a: State, b: State) -> State:
    """Raises: ValueError if the states belong to sets of different sizes."""
    if a.num_images != b.num_images:
        raise ValueError(f"parts of different sets: {a.num_images} and {b.num_images} images")
    return State(a.num_images, *(x + y for x, y in zip(a[1:], b[1:], strict=True)))


def _compute(fake: State, real: State | None = None) -> dict[str, float]:
    """Returns the score, and with several splits its `sd`.

    Raises: ValueError unless each image was seen exactly once.
    """
    if fake.seen.sum() != fake.num_images:
        raise ValueError(f"saw {fake.seen.sum()} of {fake.num_images} images")
    mean = fake.probability / fake.seen[:, None]
    # A class that no image of the split has adds nothing: 0 log 0 = 0.
    log_mean = np.log(mean, where=mean > 0, out=np.zeros_like(mean))
    scores = np.exp(fake.negative_entropy / fake.seen - (mean * log_mean).sum(1))
    if len(scores) == 1:
        return {"": float(scores[0])}
    return {"": float(scores.mean()), "sd": float(scores.std())}


def _row(name: str, output: str, num_splits: int, min_images: int) -> Metric:
    init = functools.partial(_init, num_splits)
    return Metric(
        name=name,
        output=output,
        accumulator=Accumulator(f"splits_{num_splits}", State, init, _update, _merge),
        compute=_compute,
        min_images=min_images,
        higher_is_better=True,
    )


METRICS = (
    # The usual Inception Score, in [1, 1008]. The bias of the logits is left out, as
    # in the authors' code, with which published scores are computed.
    _row("is", "logits_unbiased", num_splits=10, min_images=10),
    # Over all images at once, as TF-GAN evaluates. Slightly above the score of the same images in
    # 10 splits, whose p(y) are noisier.
    _row("is_1split", "logits_unbiased", num_splits=1, min_images=2),
    # One split and logits with their bias, as PyTorch-StudioGAN computes it.
    _row("is_1split_biased", "logits", num_splits=1, min_images=2),
    # Not an Inception Score: p is predicted by a small classifier of the data.
    _row("classifier_score", "classifier_logits", num_splits=1, min_images=2),
)
