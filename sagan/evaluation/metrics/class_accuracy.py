"""Class accuracy: how often a classifier of the data finds the class that was asked for."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from sagan.evaluation.metrics import Accumulator, Batch, Metric, Spec


class State(NamedTuple):
    """Counts of images."""

    num_images: Int64[np.ndarray, ""]
    correct: Int64[np.ndarray, ""]


def _init(spec: Spec) -> State:
    return State(np.zeros((), np.int64), np.zeros((), np.int64))


def _update(state: State, batch: Batch) -> State:
    """Raises: ValueError if the images have no classes."""
    if batch.labels is None:
        raise ValueError("class_accuracy needs images with classes")
    correct = batch.features.argmax(1) == batch.labels
    return _merge(state, State(np.array(len(correct)), np.array(correct.sum())))


def _merge(a: State, b: State) -> State:
    return State(np.asarray(a.num_images + b.num_images), np.asarray(a.correct + b.correct))


def _compute(fake: State, real: State | None = None) -> dict[str, float]:
    """Returns the fraction in [0, 1]; it hardly exceeds the classifier's own accuracy.

    Raises: ValueError if no image was seen.
    """
    if fake.num_images == 0:
        raise ValueError("class_accuracy of no images")
    return {"": float(fake.correct / fake.num_images)}


METRICS = (
    Metric(
        name="class_accuracy",
        output="classifier_logits",
        accumulator=Accumulator("correct", State, _init, _update, _merge),
        compute=_compute,
        min_images=1,
        higher_is_better=True,
        uses_labels=True,
    ),
)
