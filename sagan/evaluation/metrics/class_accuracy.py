"""Share of images that a classifier of the data at hand gives the class asked for."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from sagan.evaluation.metrics import Batch, Spec

NAME = "class_accuracy"
OUTPUT = "classifier_logits"
USES_REAL = False
USES_LABELS = True
HIGHER_IS_BETTER = True
MIN_IMAGES = 1


class State(NamedTuple):
    """Counts of images."""

    num_images: Int64[np.ndarray, ""]
    correct: Int64[np.ndarray, ""]


def init(spec: Spec) -> State:
    return State(np.zeros((), np.int64), np.zeros((), np.int64))


def update(state: State, batch: Batch) -> State:
    """Raises: ValueError if the images have no classes."""
    if batch.labels is None:
        raise ValueError("class_accuracy needs images with classes")
    correct = batch.features.argmax(1) == batch.labels
    return merge(state, State(np.array(len(correct)), np.array(correct.sum())))


def merge(a: State, b: State) -> State:
    return State(np.asarray(a.num_images + b.num_images), np.asarray(a.correct + b.correct))


def compute(fake: State, real: State | None = None) -> dict[str, float]:
    """Share in [0, 1], higher is better; bounded in practice by the classifier's own accuracy.

    Raises: ValueError if no image was seen.
    """
    if fake.num_images == 0:
        raise ValueError("class_accuracy of no images")
    return {"": float(fake.correct / fake.num_images)}
