"""Fréchet distances: the squared distance of two Gaussians fitted to features.

    |mu_f - mu_r|^2 + Tr(C_f + C_r - 2 (C_f C_r)^(1/2))

with covariances of divisor n - 1. It is >= 0, lower is better, and biased upwards for few images,
so only scores of equal numbers of images are comparable.

Source: TTUR (arXiv:1706.08500), Eq. 6, and its code.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from sagan.evaluation.metrics import Accumulator, Batch, Metric, Spec
from sagan.evaluation.metrics import _bank as bank


class Moments(NamedTuple):
    """Sums over images; in float64, since E[xx^T] - mu mu^T loses all digits in float32."""

    num_images: Int64[np.ndarray, ""]
    total: Float64[np.ndarray, " F"]
    outer: Float64[np.ndarray, "F F"]


def _init(spec: Spec) -> Moments:
    return Moments(np.zeros((), np.int64), np.zeros(spec.width), np.zeros((spec.width,) * 2))


def _update(state: Moments, batch: Batch) -> Moments:
    x = batch.features.astype(np.float64)
    return _merge(state, Moments(np.array(len(x)), x.sum(0), x.T @ x))


def _merge(a: Moments, b: Moments) -> Moments:
    return Moments(*(np.asarray(x + y) for x, y in zip(a, b, strict=True)))


MOMENTS = Accumulator("moments", Moments, _init, _update, _merge)


def mean_and_covariance(
    state: Moments,
) -> tuple[Float64[np.ndarray, " F"], Float64[np.ndarray, "F F"]]:
    """Returns the mean and the unbiased covariance (divisor n - 1).

    Raises: ValueError if fewer than 2 images were seen.
    """
    n = int(state.num_images)
    if n < 2:
        raise ValueError(f"a covariance needs at least 2 images, got {n}")
    mean = state.total / n
    return mean, (state.outer - n * np.outer(mean, mean)) / (n - 1)


def _trace_of_root(
    a: Float64[np.ndarray, "F F"], b: Float64[np.ndarray, "F F"], *, rank: int
) -> float:
    """Returns Tr (ab)^(1/2) of two covariances, at least one of which has at most this rank.

    (ab)^(1/2) has the eigenvalues of (r b r)^(1/2) with r = a^(1/2), and r b r is symmetric. Two
    symmetric eigenproblems are 10 times faster at 2048 features than a matrix square root by
    Schur's method, and leave no imaginary part to discard. Eigenvalues beyond the rank are zero
    but for rounding, and are dropped, because their square roots would not be small.
    """
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.maximum(values, 0))  # r, up to a rotation
    inner = root.T @ b @ root
    squares = np.linalg.eigvalsh((inner + inner.T) / 2)  # ascending
    return float(np.sqrt(np.maximum(squares[max(len(squares) - rank, 0) :], 0)).sum())


def distance_of_moments(fake: Moments, real: Moments) -> float:
    """Returns the squared Fréchet distance.

    Raises: ValueError if feature widths differ, or a side has fewer than 2 images.
    """
    mean_f, cov_f = mean_and_covariance(fake)
    mean_r, cov_r = mean_and_covariance(real)
    if mean_f.shape != mean_r.shape:
        raise ValueError(f"feature widths differ: {len(mean_f)} and {len(mean_r)}")
    rank = int(min(fake.num_images, real.num_images)) - 1
    shift = float(np.sum((mean_f - mean_r) ** 2))
    root = _trace_of_root(cov_f, cov_r, rank=rank)
    return shift + float(np.trace(cov_f) + np.trace(cov_r)) - 2 * root


def distance_of_samples(fake: Float[np.ndarray, "M F"], real: Float[np.ndarray, "N F"]) -> float:
    """Returns the same from the features themselves; fast if there are fewer images than features.

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
        root = _trace_of_root(x.T @ x, y.T @ y, rank=x.shape[1])
    return shift + float(np.sum(x**2) + np.sum(y**2)) - 2 * root


def _compute(fake: Moments, real: Moments) -> dict[str, float]:
    return {"": distance_of_moments(fake, real)}


def _compute_by_class(fake: bank.State, real: bank.State) -> dict[str, float]:
    """Returns the mean over the real images' classes of each class's distance, and the `worst`.

    Raises: ValueError if a class has fewer than 2 images on either side, or images no classes.
    """
    if min(fake.labels.min(initial=0), real.labels.min(initial=0)) == bank.NO_LABEL:
        raise ValueError("intra_fid needs images with classes on both sides")
    fake, real = bank.ordered(fake), bank.ordered(real)
    if not len(real.labels):
        raise ValueError("intra_fid of no images")
    distances = []
    for label in np.unique(real.labels):
        x, y = fake.features[fake.labels == label], real.features[real.labels == label]
        if min(len(x), len(y)) < 2:
            raise ValueError(
                f"intra_fid needs 2 images a class; class {label}: "
                f"{len(x)} generated, {len(y)} real"
            )
        distances.append(distance_of_samples(x, y))
    return {"": float(np.mean(distances)), "worst": float(np.max(distances))}


def _row(
    name: str, output: str, accumulator: Accumulator = MOMENTS, compute: Callable = _compute
) -> Metric:
    return Metric(
        name=name,
        output=output,
        accumulator=accumulator,
        compute=compute,
        min_images=2,
        higher_is_better=False,
        uses_real=True,
        uses_labels=accumulator is bank.BANK,
        biased_below_rank=accumulator is MOMENTS,
    )


METRICS = (
    # The usual FID, on the 2048 features before Inception's classifier.
    _row("fid", "pool"),
    # On the spatial mean of mixed_7, as pytorch-fid's `dims=768`. Values are an order of magnitude
    # below FID's and never comparable with them. It needs fewer images, since a covariance of 768
    # features has full rank from 769 images on.
    _row("fid_768", "pool_768"),
    # Spatial FID, on 17 x 17 x 7 = 2023 features of mixed_6 that keep positions: sensitive to
    # layout where FID is not. Nash et al. (arXiv:2103.03841), §4.3; layer as in guided-diffusion.
    _row("sfid", "spatial"),
    # Not FID: on the last hidden layer of a small classifier of the data. Only scores that
    # the same classifier computed are comparable.
    _row("classifier_fid", "classifier_pool"),
    # The FID of each class by itself, averaged over classes; much higher than FID where classes
    # have few images. Miyato and Koyama (arXiv:1802.05637), §4.1.
    _row("intra_fid", "pool", bank.BANK, _compute_by_class),
)
