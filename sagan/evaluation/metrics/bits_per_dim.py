"""Bits per dimension: how well a model of likelihoods predicts images that it has not seen.

It is read off the model that is scored, not off a feature network, so only tasks whose models have
likelihoods offer it.
"""

from typing import NamedTuple

import numpy as np

from sagan.evaluation.metrics import Accumulator, Batch, Metric, Spec


class Mean(NamedTuple):
    """The sum of one number over images, and how many there were."""

    total: np.ndarray
    count: np.ndarray


def _init(spec: Spec) -> Mean:
    return Mean(np.zeros(spec.width), np.zeros((), np.int64))


def _update(state: Mean, batch: Batch) -> Mean:
    total = batch.features.sum(0, dtype=np.float64)
    return _merge(state, Mean(total, np.array(len(batch.features))))


def _merge(a: Mean, b: Mean) -> Mean:
    return Mean(a.total + b.total, np.asarray(a.count + b.count))


def _compute(seen: Mean, real: Mean | None = None) -> dict[str, float]:
    """Raises: ValueError if no image was seen."""
    if seen.count == 0:
        raise ValueError("bits_per_dim of no images")
    return {"": float(seen.total[0] / seen.count)}


METRICS = (
    Metric(
        name="bits_per_dim",
        output="bits_per_dim",
        accumulator=Accumulator("mean", Mean, _init, _update, _merge),
        compute=_compute,
        min_images=1,
        higher_is_better=False,
    ),
)
